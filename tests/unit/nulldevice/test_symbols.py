"""Names in ELF files, and the declarations of headers."""

from pathlib import Path

import pytest

from ffprof.nulldevice import answers
from ffprof.nulldevice.prototypes import parse
from ffprof.nulldevice.symbols import read_symbols


def test_names_of_a_shared_library_are_read():
    import _ctypes

    found = read_symbols(Path(_ctypes.__file__), dynamic=True)
    assert "PyInit__ctypes" in found.defined
    assert any(name.startswith("Py") for name in found.wanted)
    assert not found.defined & found.wanted


@pytest.mark.parametrize("content", [b"not a library at all", b"\x7fELF\x02\x01" + b"\xff" * 100])
def test_what_is_no_library_is_refused(tmp_path, content):
    (tmp_path / "x.so").write_bytes(content)
    with pytest.raises(ValueError, match="ELF"):
        read_symbols(tmp_path / "x.so", dynamic=True)


HEADERS = """
extern __attribute__((visibility("default"))) cudaError_t cudaThing(int *count, size_t n = 0);
[[deprecated("gone soon")]] cusolverStatus_t
    cusolverDnSpotrf_bufferSize(cusolverDnHandle_t handle, int n, float *A, int lda, int *Lwork);
cublasStatus_t cublasXtCreate(cublasXtHandle_t* handle);
cusparseStatus_t cusparseGetMatType(const cusparseMatDescr_t, int* out);
cusparseStatus_t cusparseSpMM(const float* alpha, const float beta[], void (*f)(void *, int));
cublasStatus_t cublasLoggerConfigure(void);
const char *cudaName(int error);
"""


def test_declarations_are_read_whatever_surrounds_them():
    found = parse(HEADERS)
    assert list(found) == [
        "cudaThing", "cusolverDnSpotrf_bufferSize", "cublasXtCreate", "cusparseGetMatType",
        "cusparseSpMM", "cublasLoggerConfigure",
    ]  # fmt: skip
    assert [p.text for p in found["cudaThing"].parameters] == ["int *count", "size_t n"]
    assert [p.is_output for p in found["cudaThing"].parameters] == [True, False]
    assert found["cusparseGetMatType"].parameters[0].text == "const cusparseMatDescr_t a0"
    assert [p.name for p in found["cusparseSpMM"].parameters] == ["alpha", "beta", "f"]
    assert not any(p.is_output for p in found["cusparseSpMM"].parameters)
    assert found["cublasLoggerConfigure"].parameters == ()


def test_nothing_that_returns_something_claims_success():
    lines = answers.source(parse(HEADERS).values()).splitlines()
    told = {
        name: line for line in lines if line.startswith("API")
        for name in [line.split("(")[0].split()[-1]]
    }  # fmt: skip
    assert "COUNT(UNKNOWN" in told["cudaThing"]
    assert "return cudaErrorNotSupported" in told["cudaThing"]
    assert "*Lwork = 0" in told["cusolverDnSpotrf_bufferSize"]
    assert "COUNT(ASSUMED" in told["cusolverDnSpotrf_bufferSize"]
    assert "make(handle)" in told["cublasXtCreate"]
    assert "return CUSPARSE_STATUS_NOT_SUPPORTED" in told["cusparseGetMatType"]
    assert "COUNT(LIBRARY" in told["cusparseSpMM"]
    assert "return (cusparseStatus_t)0" in told["cusparseSpMM"]


def test_a_function_without_a_declaration_fails():
    text = answers.source_of_names(["cudaNew", "cublasNew", "ncclNewErrorString"])
    assert 'COUNT(UNKNOWN, "cudaNew"); return 801;' in text
    assert "return 15;" in text
    assert "const char *ncclNewErrorString(void)" in text


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("cudaMalloc", True), ("cuInit", True), ("ncclSend", True), ("nvrtcCompileProgram", False),
        ("cuFileOpen", False), ("cuptiSubscribe", False), ("customs", False), ("malloc", False),
    ],
)  # fmt: skip
def test_which_functions_are_stood_in_for(name, ours):
    assert answers.is_ours(name) is ours
