#!/usr/bin/python3
"""The tree keeps the folders' order, and the gate that says so sees planted violations."""
import pathlib
import tempfile
import unittest

import script

gate = script.load("layering_gate")
ROOT = script.ROOT


def planted(path, line):
    """What the gate says of a tree with one file of one line."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / path
        file.parent.mkdir(parents=True)
        file.write_text(line + "\n", encoding="utf-8")
        return gate.violations(pathlib.Path(folder))


class Layering(unittest.TestCase):
    def test_tree_is_clean(self):
        self.assertEqual(gate.violations(ROOT), [])

    def test_every_folder_of_the_table_exists(self):
        for folder in gate.MAY_INCLUDE:
            self.assertTrue((ROOT / folder).is_dir(), folder)

    def test_planted_violations_are_found(self):
        for path, line in [
            ("kernels/x.h", '#include "engine/tensor.h"'),
            ("layers/x.cpp", '#include "kernels/matmul.h"'),
            ("layers/x.cpp", '  #  include "optim/optimizer.h"'),
            ("optim/x.cpp", '#include "layers/module.h"'),
            ("pipeline/x.cpp", '#include "layers/dense.h"'),
            ("pipeline/rules/x.cpp", '#include "models/vgg.h"'),
            ("data/x.cpp", '#include "engine/tape.h"'),
            ("models/x.cpp", '#include "apps/config.h"'),
            ("engine/x.cpp", '#include "tests/support/support.h"'),
            ("engine/x.cpp", '#include "../kernels/common/ref.h"'),
            ("engine/tensor.h", "#include <cuda_runtime.h>"),
            ("kernels/softmax.cpp", '#include "oneapi/dnnl/dnnl.hpp"'),
            ("apps/main.cpp", "#include <dnnl.hpp>"),
            ("pipeline/executor.cpp", "#include <nccl.h>"),
            ("layers/x.h", "#include <mpi.h>"),
        ]:
            with self.subTest(path=path, line=line):
                found = planted(path, line)
                self.assertEqual(len(found), 1)
                self.assertTrue(found[0].startswith(f"{path}:1: "), found)

    def test_allowed_includes_pass(self):
        for path, line in [
            ("kernels/x.cu", "#include <cuda_runtime.h>"),
            ("kernels/conv2d_cuda.cpp", "#include <cudnn.h>"),
            ("kernels/common/onednn.h", "#include <dnnl.hpp>"),
            ("engine/vendor/onednn.cpp", "#include <dnnl.hpp>"),
            ("pipeline/transport_mpi.cpp", "#include <mpi.h>"),
            ("pipeline/stage.h", '#include "layers/module.h"'),
            ("apps/main.cpp", '#include "models/vgg.h"'),
            ("layers/x.h", "#include <vector>"),
            ("layers/x.h", '// #include "kernels/matmul.h"'),
        ]:
            with self.subTest(path=path, line=line):
                self.assertEqual(planted(path, line), [])


if __name__ == "__main__":
    unittest.main()
