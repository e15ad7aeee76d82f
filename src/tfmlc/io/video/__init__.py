"""Videos: files and folders of frames, read one frame at a time."""

from tfmlc.io.video.decoding import Frame, OnBad
from tfmlc.io.video.reading import read_frames
from tfmlc.io.video.search import VIDEO_SUFFIXES, Video, find_videos, is_video_name

__all__ = ["VIDEO_SUFFIXES", "Frame", "OnBad", "Video", "find_videos", "is_video_name", "read_frames"]
