"""Videos as arrays: video files and folders of frames, looked at one frame at a time."""

from tfmlc.io.video.clips import VIDEO_SUFFIXES, Clip, find_clips, is_video_name
from tfmlc.io.video.decoding import Frame, OnBad
from tfmlc.io.video.reading import read_frames

__all__ = ["VIDEO_SUFFIXES", "Clip", "Frame", "OnBad", "find_clips", "is_video_name", "read_frames"]
