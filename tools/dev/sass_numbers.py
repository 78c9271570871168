"""Numbers as the 32 bits of a register."""
import struct

MASK = 0xffffffff


def signed(x, bits=32):
    return x - (1 << bits) if x >> (bits - 1) else x


def bits_of(x):
    if x != x:
        return 0x7fffffff
    try:
        return struct.unpack('<I', struct.pack('<f', x))[0]
    except OverflowError:
        return 0x7f800000 if x > 0 else 0xff800000


def float_of(x):
    return struct.unpack('<f', struct.pack('<I', x))[0]


def half_bits(x):
    try:
        return struct.unpack('<H', struct.pack('<e', x))[0]
    except OverflowError:
        return 0x7c00 if x > 0 else 0xfc00
