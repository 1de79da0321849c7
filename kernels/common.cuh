// What the kernels share: the row table, sums and maxima over a warp, extremes of packed bytes.
//
// gpustats.cuda.launcher.kernel_source puts this text before every kernel. It is not an #include, because CuPy's
// cache of compiled kernels looks at the text that it is given and does not see a change in an included file.

typedef unsigned int u32;
typedef unsigned long long u64;

// One row: an image, a plane of a planar image, or a slice of a large image. Mirrored by SEGMENT in
// gpustats/cuda/tiles.py.
struct alignas(16) Segment {
    u64 address;  // of the first element
    u64 pixels;
    u64 channel_stride;  // in elements; kernels of interleaved channels do not use it
    u32 first_tile;
    u32 reserved;
};

constexpr int BINS = 256;  // of a histogram

// The largest value of a pixel.
template <typename T>
constexpr u32 LARGEST = sizeof(T) == 1 ? 255 : 65535;

// ---------------------------------------------------------------- sums and maxima over the 32 lanes of a warp

__device__ __forceinline__ u32 warp_add(u32 value) {
#if __CUDA_ARCH__ >= 800
    return __reduce_add_sync(0xffffffffu, value);
#else
    for (int offset = 16; offset; offset >>= 1) value += __shfl_xor_sync(0xffffffffu, value, offset);
    return value;
#endif
}

// The values must be below 2^53.
__device__ __forceinline__ u64 warp_add(u64 value) {
#if __CUDA_ARCH__ >= 800
    // The instruction adds u32: 26 bits and five more from 32 lanes fit, and so do the upper bits (below 2^27).
    const u64 lower = __reduce_add_sync(0xffffffffu, (u32)value & 0x3ffffffu);
    const u64 upper = __reduce_add_sync(0xffffffffu, (u32)(value >> 26));
    return lower + (upper << 26);
#else
    for (int offset = 16; offset; offset >>= 1) value += __shfl_xor_sync(0xffffffffu, value, offset);
    return value;
#endif
}

__device__ __forceinline__ u32 warp_max(u32 value) {
#if __CUDA_ARCH__ >= 800
    return __reduce_max_sync(0xffffffffu, value);
#else
    for (int offset = 16; offset; offset >>= 1) value = max(value, __shfl_xor_sync(0xffffffffu, value, offset));
    return value;
#endif
}

// ---------------------------------------------------------------- extremes of the four bytes of a word
//
// Extremes of bytes without unpacking: a comparison of wide unsigned numbers is decided by their top byte, so
// shifting each byte in turn to the top finds its extreme, whatever the lower bytes hold. From sm_90 on there
// is one instruction for the maximum of three pairs of 16-bit lanes (two top bytes at a time); before,
// emulating it costs more than plain 32-bit maxima do.
//
// 'high' begins as 0, 'low' as 0xffffffff; top_max and top_min turn them into plain numbers.

__device__ __forceinline__ void widen(u32 x, u32& high, u32& low) {
#if __CUDA_ARCH__ >= 900
    high = __vimax3_u16x2(high, x, x << 8);
    low = __vimin3_u16x2(low, x, x << 8);
#else
    high = max(max(max(high, x), x << 8), max(x << 16, x << 24));
    low = min(min(min(low, x), x << 8), min(x << 16, x << 24));
#endif
}

__device__ __forceinline__ u32 top_max(u32 high) {
#if __CUDA_ARCH__ >= 900
    return max(high >> 24, (high >> 8) & 255u);
#else
    return high >> 24;
#endif
}

__device__ __forceinline__ u32 top_min(u32 low) {
#if __CUDA_ARCH__ >= 900
    return min(low >> 24, (low >> 8) & 255u);
#else
    return low >> 24;
#endif
}
