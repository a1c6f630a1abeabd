"""Tests of folding and drawing. Run by `perf/record --self` and `perf/run --self`."""

import unittest
import xml.etree.ElementTree as ElementTree

from measure import flame

SCRIPT = """\
dp-worker-0  4711/4713  1234.567890:    1003009 cpu-clock:
\t          55d0c0 dataplane_aead::lanes::seal::h0123456789abcdef+0x1f (/opt/dataplane-wg)
\t          44aa00 <T as core::ops::FnOnce<(A, B)>>::call_once+0x10 (/opt/dataplane-wg)
\t          44aa00 [unknown] (/usr/lib/libc.so.6)

dp-worker-0  4711/4713  1234.568890:    1003009 cpu-clock:
\t          55d0c4 dataplane_aead::lanes::seal::h0123456789abcdef+0x23 (/opt/dataplane-wg)
\t          44aa00 <T as core::ops::FnOnce<(A, B)>>::call_once+0x10 (/opt/dataplane-wg)
\t          44aa00 [unknown] (/usr/lib/libc.so.6)

name with spaces  4712  1234.569:    1003009 cpu-clock:
\tffffffff81000000 udp_sendmsg+0x9c ([kernel.kallsyms])
"""


class Folding(unittest.TestCase):
    def stacks(self):
        return flame.fold(SCRIPT.split("\n"))

    def test_equal_stacks_are_counted_whatever_the_instruction(self):
        stack = ("dp-worker-0", "[libc.so.6]", "<T as core::ops::FnOnce<(A, B)>>::call_once",
                 "dataplane_aead::lanes::seal")
        self.assertEqual(self.stacks()[stack], 2)

    def test_a_thread_with_spaces_in_its_name_and_a_frame_of_the_kernel(self):
        self.assertEqual(self.stacks()[("name with spaces", "udp_sendmsg [k]")], 1)
        self.assertEqual(sum(self.stacks().values()), 3)

    def test_the_folded_form_has_one_line_for_each_stack(self):
        lines = flame.lines(self.stacks())
        self.assertEqual(len(lines), 2)
        self.assertEqual(lines[1], "name with spaces;udp_sendmsg [k] 1")

    def test_semicolons_of_names_do_not_become_frames(self):
        text = "a;b 1 1.0: 1 cpu-clock:\n\t 1f f;g+0x1 (/x)\n"
        self.assertEqual(flame.lines(flame.fold(text.split("\n"))), ["a:b;f:g 1"])

    def test_what_is_no_sample_is_left_out(self):
        self.assertEqual(flame.fold(["", "nonsense", "", "more nonsense"]), {})

    def test_the_hottest_functions_are_those_at_the_leaves(self):
        share, name = flame.hottest(self.stacks())[0]
        self.assertEqual((round(share, 3), name), (0.667, "dataplane_aead::lanes::seal"))


class Drawing(unittest.TestCase):
    def test_the_picture_is_well_formed_and_its_widths_are_shares(self):
        picture = flame.svg(flame.fold(SCRIPT.split("\n")), "a < b & c")
        root = ElementTree.fromstring(picture)
        space = "{http://www.w3.org/2000/svg}"
        widths = {group.find(f"{space}title").text: float(group.find(f"{space}rect").get("width"))
                  for group in root.iter(f"{space}g")}
        whole = widths["all: 3 samples, 100.00 %"]
        self.assertEqual(whole, flame.WIDTH - 2 * flame.MARGIN)
        self.assertAlmostEqual(widths["dp-worker-0: 2 samples, 66.67 %"], whole * 2 / 3, delta=0.01)
        self.assertAlmostEqual(widths["udp_sendmsg [k]: 1 samples, 33.33 %"], whole / 3, delta=0.01)

    def test_callees_stand_above_their_callers_and_inside_of_them(self):
        root = ElementTree.fromstring(flame.svg({("t", "f", "g"): 1, ("t", "f"): 1}, "x"))
        space = "{http://www.w3.org/2000/svg}"
        frames = {group.find(f"{space}title").text.split(":")[0]: group.find(f"{space}rect")
                  for group in root.iter(f"{space}g")}
        f, g = ({key: float(frames[name].get(key)) for key in ("x", "y", "width")} for name in "fg")
        self.assertLess(g["y"], f["y"])
        self.assertTrue(f["x"] <= g["x"] and g["x"] + g["width"] <= f["x"] + f["width"])

    def test_no_sample_makes_an_empty_picture(self):
        ElementTree.fromstring(flame.svg({}, "nothing"))


if __name__ == "__main__":
    unittest.main()
