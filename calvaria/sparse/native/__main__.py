"""`python -m calvaria.sparse.native` says whether the engine was compiled."""

from calvaria.sparse import native

if __name__ == "__main__":
    print(f"Native sparse engine: {native.simd()} kernels." if native.available() else f"No native sparse engine: {native.why_not()}.")
