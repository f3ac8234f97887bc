"""What a processor has, read from texts of /proc/cpuinfo as Linux writes them."""

import pytest

from deeplab_tf.core import processor

ZEN4 = """processor\t: 0
vendor_id\t: AuthenticAMD
model\t\t: 17
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse sse2 ssse3 sse4_1 avx f16c avx2 avx512f avx512bw avx512_bf16 avx512_vnni
bugs\t\t: spectre_v1 avx_vnni
"""
SAPPHIRE_RAPIDS = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu sse2 avx avx2 avx512f avx_vnni avx512_bf16 avx512_vnni amx_bf16 avx512_fp16 amx_tile amx_int8
"""
CASCADE_LAKE = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz
flags\t\t: fpu sse2 avx avx2 avx512f avx512bw avx512_vnni
"""
HASWELL = "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i7-4770\nflags\t\t: fpu sse2 sse4_1 avx fma avx2 bmi2\n"
NEHALEM = "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i7 CPU 920\nflags\t\t: fpu sse2 ssse3 sse4_1 sse4_2\n"
ALDER_LAKE = """processor\t: 0
model name\t: 12th Gen Intel(R) Core(TM) i7-1260P
flags\t\t: fpu sse2 avx avx2 avx_vnni
"""
JETSON_NANO = """processor\t: 0
model name\t: ARMv8 Processor rev 1 (v8l)
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32
CPU implementer\t: 0x41
CPU part\t: 0xd07
"""
GRAVITON3 = """processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes atomics fphp asimdhp asimddp sve asimdfhm i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
BIG_LITTLE = """processor\t: 0
Features\t: fp asimd crc32

processor\t: 4
Features\t: fp asimd crc32 asimddp i8mm bf16
Hardware\t: Rockchip RK3588
"""
VNNI_512 = ["AVX", "AVX2", "AVX-512", "VNNI"]
CASES = [
    (ZEN4, "AMD EPYC 9R14", VNNI_512 + ["bfloat16"], True),
    (SAPPHIRE_RAPIDS, "Intel(R) Xeon(R) Platinum 8488C", VNNI_512 + ["bfloat16", "AMX bfloat16", "AMX INT8"], True),
    (CASCADE_LAKE, "Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", VNNI_512, False),
    (HASWELL, "Intel(R) Core(TM) i7-4770", ["AVX", "AVX2"], False),
    (NEHALEM, "Intel(R) Core(TM) i7 CPU 920", [], False),
    (ALDER_LAKE, "12th Gen Intel(R) Core(TM) i7-1260P", ["AVX", "AVX2", "VNNI"], False),
    (JETSON_NANO, "ARMv8 Processor rev 1 (v8l)", ["NEON"], False),
    (GRAVITON3, "ARM 0xd40", ["bfloat16", "NEON", "dot product", "i8mm", "SVE"], False),
    (BIG_LITTLE, "Rockchip RK3588", ["NEON"], False),  # a thread may run on a core without the others' features
]


def write(root, text):
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(text)
    return str(root)


@pytest.mark.parametrize("text, name, found, bfloat16", CASES, ids=[case[1].replace(" ", "_") for case in CASES])
def test_each_processor(tmp_path, text, name, found, bfloat16):
    root = write(tmp_path, text)
    assert (processor.model_name(root), processor.features(root)) == (name, found)
    assert processor.has_fast_bfloat16(processor.features(root)) is bfloat16


def test_without_cpuinfo_nothing_is_claimed(tmp_path):
    assert processor.features(str(tmp_path)) == [] and processor.model_name(str(tmp_path)) == ""


def test_where_linux_lists_no_flags_numpy_is_asked(monkeypatch):
    """NumPy has asked the processor itself: on this machine both agree about all that NumPy knows."""
    known = ("AVX", "AVX2", "AVX-512", "dot product")
    listed = processor.features()
    monkeypatch.setattr(processor, "_read", lambda root: "processor\t: 0\n")
    assert [name for name in processor.features() if name in known] == [name for name in listed if name in known]
