"""The CUDA kernels: how a batch becomes tiles, how a kernel is launched, what its output means."""
