"""Compile every GPU kernel for a GPU that is not there: `python tools/compile_kernels.py [--arch 90] [--quick]`.

What the interpreter runs, a compiler may still refuse. A first process runs the paper's networks and those in models/ under Triton's
interpreter, with the channels that a GPU gets, and records which kernels are started with which types and constants; this one compiles
those for an architecture, with the assembler that Triton brings, and prints registers, spilled bytes and shared memory of each. Exit status
1 if one cannot be compiled, or if there is a kernel that nothing starts.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from itertools import chain, product
from pathlib import Path
from typing import Any

KERNELS = "calvaria.sparse.triton_engine"
MODULES = "bit_kernels", "cube_kernels", "norm_kernels", "product_kernels", "stem_kernels"
MODELS = Path(__file__).parents[1] / "models"
SIZE = 8
"""Edge of the grid that networks run on; few sites suffice, since all sizes share kernels."""

LARGEST_SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024}
"""Shared memory of a block, as CUDA's programming guide has it for compute capabilities 8.0 and 9.0."""


def record(path: Path) -> None:
    """Under the interpreter: a line for every way in which a kernel is started."""
    import torch

    from calvaria.networks import CONFIGS, EncoderDecoder, NetworkConfig
    from calvaria.plan import Plan
    from calvaria.sparse import SiteSet, engines
    from calvaria.sparse.triton_engine import bits, cubes, features, norms
    from calvaria.sparse.triton_engine.launch import launch

    found: dict[str, None] = {}

    def recording(kernel: Any, grid: Any, tensors: Any, numbers: Any, **constants: Any) -> None:
        if 0 not in grid:
            types = [str(tensor.dtype)[6:] for tensor in tensors]
            kinds = ["fp32" if isinstance(number, float) else "i32" for number in numbers]
            module = kernel.fn.__module__.rsplit(".", 1)[1]
            found[json.dumps([module, kernel.fn.__name__, types, kinds, constants], default=lambda each: each.value)] = None
            if module != "bit_kernels":  # features decide nothing where the sites to keep are given, and take the interpreter minutes
                return
        launch(kernel, grid, tensors, numbers, **constants)

    for module in (bits, cubes, features, norms):
        module.launch = recording  # type: ignore[attr-defined]
    engines._NATIVE["cpu"] = KERNELS
    padded = NetworkConfig.computed_channels
    NetworkConfig.computed_channels = lambda config, _: padded(config, "cuda")  # type: ignore[method-assign]
    for config, dtype, few, tf32 in product(configs(CONFIGS.values()), (torch.float16, torch.float32), (0, 2**15), (False, True)):
        bits.FEW_WORDS, cubes.SITES = few, 0 if few else 2**17
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.manual_seed(0)
        network = EncoderDecoder(config).to(dtype)
        mask = torch.rand(SIZE, SIZE, SIZE) < 0.2
        sites, wanted = SiteSet.from_masks([mask], "native"), SiteSet.from_masks([mask | mask.roll(1, 0)], "native")
        given = torch.rand(len(sites), config.inputs, dtype=dtype) if config.inputs else None
        Plan(network.eval())(sites, wanted if config.grows else None, given)
        sum(level.logits.float().sum() for level in network.train()(sites, wanted, features=given)).backward()
        assert torch.equal(sites.spread(torch.ones(len(sites)))[0] > 0, mask)
        assert torch.equal(SiteSet.from_coordinates(sites.coordinates, sites.extents, engine="native").masks()[0], mask)
        assert bool(sites.parents.reached(2).holds(sites).all())
    path.write_text("\n".join(found))


def configs(more: Any) -> list[Any]:
    """The paper's networks, and those that are shipped."""
    from calvaria.weights import CLOSE_UP, WEIGHTS, load_weights

    shipped = (load_weights(path)[0].config for path in sorted(MODELS.glob("*/*")) if path.name in (WEIGHTS, CLOSE_UP))
    return list(dict.fromkeys(chain(more, shipped)))


def never_started(starts: list[Any]) -> list[str]:
    """Kernels that are not among the starts; what only other kernels call is none."""
    from triton.runtime.jit import JITFunction

    found = {value for module in MODULES for value in vars(import_module(f"{KERNELS}.{module}")).values() if isinstance(value, JITFunction)}
    sources = "".join(function.src.removeprefix(f"def {function.fn.__name__}") for function in found)
    kernels = {function.fn.__name__ for function in found if not re.search(rf"\b{function.fn.__name__}\(", sources)}
    return sorted(kernels - {name for _, name, *_ in starts})


def variants(line: str) -> list[tuple[str, str, list[str], list[str], dict[str, Any]]]:
    """One recorded start, and the same in bfloat16, which the interpreter does not know, where it is in float16."""
    module, name, types, kinds, constants = json.loads(line)
    others = [types] if "float16" not in types else [types, ["bfloat16" if each == "float16" else each for each in types]]
    return [(module, name, each, kinds, constants) for each in others]


def compiled(arch: int, module: str, name: str, types: list[str], kinds: list[str], constants: dict[str, Any]) -> tuple[int, int, int]:
    """Registers, spilled bytes and shared bytes of a kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(import_module(f"{KERNELS}.{module}"), name)
    options = {key: value for key, value in constants.items() if key not in kernel.arg_names}
    pointers = [
        "*" + {"float": "fp", "bfloat": "bf", "int": "i", "uint": "u"}[re.sub(r"\d", "", each)] + re.sub(r"\D", "", each) for each in types
    ]
    runtime = [arg for arg in kernel.arg_names if arg not in constants]
    signature = dict.fromkeys(kernel.arg_names, "constexpr") | dict(zip(runtime, pointers + kinds, strict=True))
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, arg in enumerate(kernel.arg_names)
        if arg in runtime[: len(types)] and not kernel.params[place].do_not_specialize_on_alignment
    }
    source = ASTSource(kernel, signature, {arg: constants[arg] for arg in kernel.arg_names if arg in constants}, aligned)
    built = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    return (*resources(built.asm["ptx"], arch), built.metadata.shared)


def resources(ptx: str, arch: int) -> tuple[int, int]:
    """Registers and spilled bytes, as the assembler says."""
    from triton.backends.nvidia.compiler import get_ptxas

    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        target = re.search(r"\.target (\w+)", ptx)
        command = [get_ptxas(arch).path, "-v", f"--gpu-name={target[1] if target else f'sm_{arch}'}", file.name, "-o", os.devnull]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = re.search(r"Used (\d+) registers", said), re.search(r"(\d+) bytes spill stores", said)
    return int(registers[1]) if registers else 0, int(spilled[1]) if spilled else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=int, default=90, help="compute capability times ten: 90 is an H100 or H200")
    parser.add_argument("--quick", action="store_true", help="of each kernel and type only one")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.record:
        record(chosen.record)
        return 0
    with tempfile.NamedTemporaryFile() as file:
        environment = os.environ | {"TRITON_INTERPRET": "1"}
        os.environ.pop("TRITON_INTERPRET", None)  # here they are compiled
        subprocess.run([sys.executable, __file__, "--record", file.name], env=environment, check=True)
        starts = [variant for line in Path(file.name).read_text().splitlines() for variant in variants(line)]
    absent = never_started(starts)
    if chosen.quick:
        starts = list({(name, types[0]): (module, name, types, *rest) for module, name, types, *rest in starts}.values())
    failed = 0
    for name in absent:
        print(f"NEVER STARTED {name}", flush=True)
    for start in starts:
        module, name, types, _, constants = start
        what = f"{name} {types[0]} " + " ".join(f"{key.lower()}={value}" for key, value in constants.items())
        try:
            registers, spilled, shared = compiled(chosen.arch, *start)
        except Exception as error:
            failed += 1
            print(f"FAILED {module}.{what}: {type(error).__name__}: {error}", flush=True)
            continue
        fits = shared <= LARGEST_SHARED_BYTES.get(chosen.arch, shared)
        failed += not fits
        print(f"{registers:3} registers, {spilled:4} bytes spilled, {shared:6} shared{'' if fits else ' TOO MUCH'}: {what}", flush=True)
    print(f"{len(starts) - failed} of {len(starts)} kernels compile for compute capability {chosen.arch / 10}")
    return int(failed > 0 or bool(absent))


if __name__ == "__main__":
    sys.exit(main())
