"""Videos: files and folders of frames, read one frame at a time; the properties of files, and how they are written."""

from tfmlc.io.video.decoding import Frame, OnBad
from tfmlc.io.video.encoding import CONTAINERS
from tfmlc.io.video.properties import FOR_VIDEO, VideoProperties, has_pyav, read_properties, video_mark
from tfmlc.io.video.reading import read_frames
from tfmlc.io.video.search import VIDEO_SUFFIXES, Video, find_videos, is_video_name

__all__ = [
    "CONTAINERS",
    "FOR_VIDEO",
    "VIDEO_SUFFIXES",
    "Frame",
    "OnBad",
    "Video",
    "VideoProperties",
    "find_videos",
    "has_pyav",
    "is_video_name",
    "read_frames",
    "read_properties",
    "video_mark",
]
