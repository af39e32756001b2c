#!/usr/bin/python3
"""The tree keeps its size limits, and the gate that says so sees planted breaches."""
import pathlib
import subprocess
import tempfile
import unittest

import script

gate = script.load("size_gate")
ROOT = script.ROOT


def body(lines, head="void f() {"):
    return head + "\n" + "  g();\n" * (lines - 2) + "}\n"


def planted(path, text):
    """The breaches of a tree with one file."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / path
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
        return gate.breaches(gate.measure(pathlib.Path(folder)), {})


class Sizes(unittest.TestCase):
    def test_tree_is_clean(self):
        done = subprocess.run([ROOT / "scripts/size_gate"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_limits_are_exact(self):
        for path, fits, breaks in [
            ("engine/x.h", "\n" * 250, "\n" * 251),
            ("engine/x.cpp", "\n" * 400, "\n" * 401),
            ("engine/x.cpp", body(60), body(61)),
            ("kernels/x.cu", body(120, "__global__ void k() {"), body(121, "__global__ void k() {")),
            ("engine/x.h", "void f(int, int, int, int, int, int);", "void f(int, int, int, int, int, int, int);"),
        ]:
            with self.subTest(path=path, breaks=breaks[:40]):
                self.assertEqual(planted(path, fits), [])
                self.assertEqual(len(planted(path, breaks)), 1)

    def test_long_functions_are_found_in_every_form(self):
        for head in [
            "TEST_P(OnEachDevice, Long) {",
            "template <class T, int n = 3>\nstatic auto f(const std::vector<T>& x, int a = g(1)) -> int {",
            "Foo::Foo(int a, std::vector<int> b) : Base(a), b_{std::move(b)}, c_(1) {",
            "bool operator==(const Foo& o) const {",
            "float operator()(int i) const noexcept {",
            "struct Stats f() {",
            "template <>\nvoid X::cpu<kIsa>(CpuContext& c) const {",
            "namespace a {\nclass B final : public C {\n public:\n  explicit B(int x) {",
            "int table[] = {1, 2, 3};\nvoid f(char c = '{', const char* s = \"(\") {",
        ]:
            with self.subTest(head=head):
                self.assertTrue(any(": function " in b for b in planted("engine/x.cpp", body(63, head))))

    def test_long_tables_and_types_are_not_functions(self):
        for text in ["const std::vector<Row> kRows = {\n" + "  {1, f(2), 3},\n" * 80 + "};\n",
                     "struct X {\n" + "  int f(int a) const { return a; }\n" * 80 + "};\n",
                     "concept C = requires(const K& k) {\n" + "  k.check();\n" * 80 + "};\n"]:
            self.assertEqual(planted("engine/x.cpp", text), [])

    def test_parameters_are_counted_as_a_reader_would(self):
        for head, count in [
            ("void f()", 0),
            ("void f(void)", 0),
            ("void f(std::map<int, std::pair<int, int>> a, int b)", 2),
            ("void f(std::function<void(int, int)> a, int b = g(1, 2), Shape s = {1, 2})", 3),
            ("Foo::Foo(int a, int b) : a_(a, b), b_(b, a, a)", 2),
            ("__global__ void __launch_bounds__(256, 2) k(float* y, const float* x)", 2),
            ("void launch_kernel(Context& c, Kernel k, Args... args)", 2),
        ]:
            with self.subTest(head=head):
                counts = [f[3] for f in gate.functions(head + " {\n  h(1, 2, 3, 4, 5, 6, 7, 8);\n}\n")]
                self.assertEqual(counts, [count])

    def test_only_stand_ins_have_the_vendors_parameter_lists(self):
        wide = "int {}(int, int, int, int, int, int, int);"
        self.assertEqual(planted("tests/emu/x.cpp", wide.format("cublasSgemm_v2")), [])
        self.assertEqual(planted("tests/emu/x.cpp", wide.format("__cudaRegisterVar")), [])
        self.assertEqual(len(planted("tests/emu/x.cpp", wide.format("multiply"))), 1)
        self.assertEqual(len(planted("engine/x.cpp", wide.format("cublasSgemm_v2"))), 1)

    def test_exceptions_may_only_shrink(self):
        long = [gate.Measure("function", "engine/x.cpp", "f", 70)]
        key = ("function", "engine/x.cpp", "f")
        self.assertEqual(gate.breaches(long, {key: 70}), [])
        self.assertEqual(gate.breaches(long, {key: 70}, earlier={key: 75}), [])
        self.assertEqual(len(gate.breaches(long, {key: 69})), 1)
        self.assertEqual(len(gate.breaches(long, {key: 71})), 1)
        self.assertEqual(len(gate.breaches([], {key: 70})), 1)
        self.assertEqual(len(gate.breaches(long, {key: 70}, earlier={})), 1)
        self.assertEqual(len(gate.breaches(long, {key: 70}, earlier={key: 65})), 1)


if __name__ == "__main__":
    unittest.main()
