"""AEDAT 4 without compression: a head in XML and one packet of events, each a FlatBuffer.

A FlatBuffer with one table is the table's place, its vtable (sizes, and where each field lies) and the table, all little-endian.
"""

import struct

import numpy as np

INFO = """<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/"><node name="0" path="/mainloop/Recorder/outInfo/0/">
<attr key="compression" type="string">NONE</attr><attr key="originalModuleName" type="string">capture</attr>
<attr key="originalOutputName" type="string">events</attr><attr key="typeDescription" type="string">Array of events.</attr>
<attr key="typeIdentifier" type="string">EVTS</attr><node name="info" path="/mainloop/Recorder/outInfo/0/info/">
<attr key="sizeX" type="int">{width}</attr><attr key="sizeY" type="int">{height}</attr><attr key="source" type="string">DVS</attr>
</node></node></node></dv>"""
EVENT = np.dtype({"names": ["t", "x", "y", "on"], "formats": ["<i8", "<i2", "<i2", "?"], "offsets": [0, 8, 10, 12], "itemsize": 16})


def _sized(content):
    return struct.pack("<I", len(content)) + content


def _head(text):
    """Of the compression (0), the place of the index (-1: none), and the text."""
    vtable = struct.pack("<5H", 10, 24, 4, 8, 16) + b"\0\0"  # 12 bytes from 8 on, with padding after
    table = struct.pack("<iiqi", 12, 0, -1, 4)  # 20 to 40: the vtable lies 12 bytes before
    return _sized(struct.pack("<I4s", 20, b"IOHE") + vtable + table + _sized(text.encode()) + b"\0")


def _packet(events):
    vtable = struct.pack("<3H", 6, 8, 4) + b"\0\0"  # from 8 to 16
    table = struct.pack("<iI", 8, 8)  # 16 to 24: the array begins 8 bytes after 20
    padding = struct.pack("<I", 0)
    return _sized(struct.pack("<I4s", 16, b"EVTS") + vtable + table + padding + struct.pack("<I", len(events)) + events.tobytes())


def aedat4(x, y, polarity, time, width, height):
    """The bytes of a file with these events, of a sensor of that size."""
    events = np.zeros(len(x), EVENT)
    events["t"], events["x"], events["y"], events["on"] = time, x, y, polarity
    packet = _packet(events)
    return b"#!AER-DAT4.0\r\n" + _head(INFO.format(width=width, height=height)) + struct.pack("<ii", 0, len(packet)) + packet
