#!/usr/bin/python3
"""What --dump writes is enough to run a launch again: this program does so for one kernel, from the files alone.

usage: dump_test.py KERNELS_TEST
"""
import ast
import json
import pathlib
import struct
import subprocess
import sys
import tempfile


def load(path):
    """The bytes of a .npy file of unsigned bytes."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", path
    length = struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10 : 10 + length].decode())
    assert header["descr"] == "|u1" and (10 + length) % 64 == 0, header
    assert header["shape"] == (len(data) - 10 - length,), header
    return data[10 + length :]


def floats(memory, pointer, count):
    return struct.unpack_from(f"<{count}f", memory[pointer["memory"]], pointer["offset"])


def replay_add(launch, before, after):
    """add_kernel<float>(y, a, b, n, packed)."""
    y, a, b = (launch["arguments"][i]["pointers"][0] for i in range(3))
    count = struct.unpack("<q", bytes.fromhex(launch["arguments"][3]["value"]))[0]
    sums = [x + z for x, z in zip(floats(before, a, count), floats(before, b, count))]
    expected = struct.unpack(f"<{count}f", struct.pack(f"<{count}f", *sums))
    assert floats(after, y, count) == expected, launch
    return count


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], "--gtest_filter=*AddTest.*Match*/cuda_0", "--dump", folder], check=True)
        replayed = elements = 0
        for file in sorted(pathlib.Path(folder).glob("*.json")):
            launch = json.loads(file.read_text(encoding="utf-8"))
            parts = {when: [load(file.with_name(f"{file.stem}.memory{i}.{when}.npy")) for i in range(len(launch["memory"]))]
                     for when in ("before", "after")}
            assert [len(m) for m in parts["before"]] == launch["memory"], file
            assert launch["mangled"].startswith("_Z") and launch["block"] == [256, 1, 1], launch
            if "add_kernel<float>" in launch["kernel"]:
                elements += replay_add(launch, parts["before"], parts["after"])
                replayed += 1
    assert replayed >= 3 and elements > 60000, (replayed, elements)
    refused = subprocess.run([sys.argv[1], "--dmup", "x"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "--dump DIR" in refused.stderr, refused
    print(f"replayed {replayed} launches, {elements} elements")


if __name__ == "__main__":
    main()
