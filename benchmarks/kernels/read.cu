// The fastest plain read: every byte of a buffer through 16-byte loads, folded so that none can be left out.
// What it reaches is the yardstick for the reduction kernels.
//
// Inputs: `vectors` 16-byte vectors at `data` (16-byte aligned). Output: one u32 a block, xor of its words.
// Launch: any grid of 256-thread blocks; blocks stride over the buffer, four loads a thread in flight.

typedef unsigned int u32;
typedef unsigned long long u64;

extern "C" __global__ void __launch_bounds__(256) read_all(const uint4* __restrict__ data, u64 vectors, u32* out) {
    __shared__ u32 folded;
    if (threadIdx.x == 0) folded = 0;
    __syncthreads();
    const u64 step = (u64)gridDim.x * 256;
    u64 i = (u64)blockIdx.x * 256 + threadIdx.x;
    u32 x = 0;
    for (; i + 3 * step < vectors; i += 4 * step) {
        const uint4 a = __ldg(data + i), b = __ldg(data + i + step);
        const uint4 c = __ldg(data + i + 2 * step), d = __ldg(data + i + 3 * step);
        x ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w;
        x ^= c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
    }
    for (; i < vectors; i += step) {
        const uint4 a = __ldg(data + i);
        x ^= a.x ^ a.y ^ a.z ^ a.w;
    }
    atomicXor(&folded, x);
    __syncthreads();
    if (threadIdx.x == 0) out[blockIdx.x] = folded;
}
