#!/usr/bin/python3
"""Device code keeps to its vocabulary, and the gate that says so sees planted violations."""
import unittest

import script

gate = script.load("kernel_gate")
ROOT = script.ROOT

SOUND = "__global__ void __launch_bounds__(kThreads) add_kernel(float* y);\n"


class Kernels(unittest.TestCase):
    def test_tree_is_clean(self):
        self.assertEqual(gate.violations(ROOT), [])

    def test_planted_violations_are_found(self):
        for code, word in [
            ("__constant__ float table[4];", "__constant__"),
            ("__device__ int counter;", "__device__ variable"),
            ("  __shared__ float part[32];", "__shared__"),
            ('  asm volatile("bar.sync 0;");', "inline PTX"),
            ("  add_kernel<<<1, 2>>>(y);", "<<<>>>"),
            ("  __threadfence();", "fences"),
            ("  volatile int* flag;", "volatile"),
            ("static __global__ void __launch_bounds__(kThreads) k(int);", "external linkage"),
            ("namespace {\n__global__ void __launch_bounds__(kThreads) k(int);\n}", "unnamed namespace"),
            ("__global__ void k(int);", "__launch_bounds__"),
            ("__global__ void __launch_bounds__(128) k(int);", "__launch_bounds__"),
        ]:
            with self.subTest(code=code):
                found = gate.violations_of("kernels/x.cu", code)
                self.assertTrue(found, code)
                self.assertTrue(any(word in f for f in found), found)

    def test_sound_code_passes(self):
        for path, code in [
            ("kernels/x.cu", SOUND),
            ("kernels/x.cu", "template <class T>\n__global__ void __launch_bounds__(kThreads, 3)\n    k(T* y);\n"),
            ("kernels/x.cu", "// __shared__ and <<<>>> in a comment\n" + SOUND),
            ("kernels/common/device.cuh", "  __shared__ T object;"),
            ("kernels/common/ptx.cuh", '  asm("mov.u32 %0, %laneid;" : "=r"(lane));'),
            ("kernels/x.cu", "__device__ inline float twice(float a) { return 2 * a; }"),
        ]:
            with self.subTest(code=code):
                self.assertEqual(gate.violations_of(path, code), [])


if __name__ == "__main__":
    unittest.main()
