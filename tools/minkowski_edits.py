"""What MinkowskiEngine 0.5.4 lacks for Python ≥ 3.10, and for CUDA 12 and 13: the edits to its released source, as data."""

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """Replace `old` by `new` everywhere in a file; it is an error unless `old` is found exactly `count` times."""

    path: str
    old: str
    new: str
    count: int = 1

    def apply(self, source: Path) -> None:
        text = (source / self.path).read_text()
        if text.count(self.old) != self.count:
            sys.exit(f"The edit of MinkowskiEngine's {self.path} does not fit: {self.old!r} is there {text.count(self.old)} times.")
        (source / self.path).write_text(text.replace(self.old, self.new))


def edits(cuda: int | None) -> list[Edit]:
    """Those for a build on CPU (None) or for a major version of CUDA."""
    return PYTHON + (CUDA if cuda else []) + (CUDA_13 if cuda and cuda >= 13 else [])


def _include(path: str, before: str, *headers: str) -> Edit:
    return Edit(path, before, "".join(f"#include <thrust/{header}.h>\n" for header in headers) + before)


# Python 3.10 dropped the abstract classes from `collections`.
PYTHON = [
    Edit(f"MinkowskiEngine/{module}.py", "from collections import Sequence\n", "from collections.abc import Sequence\n")
    for module in ("MinkowskiCoordinateManager", "MinkowskiTensorField", "MinkowskiCommon", "utils/quantization")
] + [
    Edit(
        "MinkowskiEngine/MinkowskiKernelGenerator.py",
        "from collections import Sequence, namedtuple\n",
        "from collections import namedtuple\nfrom collections.abc import Sequence\n",
    )
]

_HASH_MAP = "src/3rdparty/concurrent_unordered_map.cuh"

CUDA = [
    # Thrust dropped this base class, and its headers no longer include one another.
    Edit(
        "src/coordinate_map_functors.cuh",
        "struct find_coordinate\n    : public thrust::unary_function<uint32_t,\n"
        "                                    thrust::pair<uint32_t, uint32_t>> {",
        "struct find_coordinate {",
    ),
    _include(_HASH_MAP, "#include <thrust/pair.h>\n", "execution_policy"),
    _include("src/coordinate_map_gpu.cu", "#include <thrust/sort.h>\n", "remove", "unique"),
    _include("src/spmm.cu", "#include <cusparse.h>\n", "execution_policy", "iterator/zip_iterator", "reduce", "sort", "tuple"),
    _include("src/convolution_kernel.cuh", '#include "gpu.cuh"\n', "execution_policy"),
    # PyTorch's header no longer brings the tensor it speaks of.
    Edit("src/spmm.cu", "#include <ATen/cuda/CUDAUtils.h>\n", "#include <ATen/core/Tensor.h>\n#include <ATen/cuda/CUDAUtils.h>\n"),
    # Profiling ranges of a header that CUDA no longer ships.
    Edit(_HASH_MAP, "#include <cudf/detail/nvtx/ranges.hpp>\n", ""),
    Edit(_HASH_MAP, "    CUDF_FUNC_RANGE();\n", ""),
    # A unique_ptr with this deleter is no longer converted to a shared_ptr.
    Edit("src/coordinate_map_gpu.cuh", "      m_map = map_type::create(\n", "      auto created = map_type::create(\n"),
    Edit(
        "src/coordinate_map_gpu.cuh",
        '      LOG_DEBUG("Done concurrent_unordered_map creation");\n',
        "      auto deleter = created.get_deleter();\n"
        "      m_map = std::shared_ptr<map_type>(created.release(), deleter);\n"
        '      LOG_DEBUG("Done concurrent_unordered_map creation");\n',
    ),
]

CUDA_13 = [
    # The device became a location, and flags came after it.
    Edit(_HASH_MAP, "dev_id, stream)", "cudaMemLocation{cudaMemLocationTypeDevice, dev_id}, 0, stream)", count=3),
]
