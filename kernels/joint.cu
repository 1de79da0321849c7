// Cross products and histograms of a ragged batch of interleaved uint8 or uint16 images, 1 to 4 channels.
//
// Computes, for every row (one image or one slice of an image), in one pass over its pixels:
//   *_cross         per channel sum, sum of squares, minimum, maximum, and the sums of x_i * x_j, i < j
//   *_histogram     the same, and 256 bins a channel (uint8), from which a block takes its sums and extremes
//   *_cross_histogram  all of it
//
// Inputs
//   segments      one Segment a row: where its pixels are, how many, and the number of its first tile
//   tile_segment  for every tile (= block) the row it belongs to; rows without pixels have no tile
//   tile_vectors  16-byte vectors a tile, a multiple of 3 * THREADS
//   row_bins      bins from a row to the next: C * 256, or 0 where all rows are counted in the same bins
// Outputs, all zero-filled by the caller
//   sums       double [rows][2 * C + PAIRS]            sums, sums of squares, cross products (0,1) (0,2) ... (2,3);
//                                                     PAIRS = C * (C - 1) / 2, without cross products 0
//   counts     u64    [rows]                           elements read (pixels * C)
//   extremes   u32    [rows][C][2]                     (MAX - minimum), maximum
//   histogram  u32    [rows][C][256], or [C][256] where row_bins is 0
//
// Limits: sums of products below 2^53 a row (uint8: 2^37 pixels; uint16: 2^21); fewer than 2^32 pixels are
// counted in the same bins; a row's address is a multiple of the pixel's size, except for 1 and 3 channels,
// where any address at which an element may lie will do.
//
// Launch: grid = tiles, block = THREADS.
//   * Products need the channels of one pixel in one thread, so unlike in moments.cu a thread takes whole
//     pixels: a chunk of CHUNK_VECTORS vectors (RGB: 48 bytes, 16 pixels). Pixels before the first chunk that
//     begins at a 16-byte address (fewer than 16: 3 is a unit mod 16) and after the last chunk are read one
//     by one, by tile 0 of the row.
//   * Bins are shared by the block, in COPIES copies laid side by side: thread t counts in copy t % COPIES. Lanes of
//     a warp see neighbouring pixels, which tend to be equal; with 16 copies at most two lanes meet
//     in one bank, equal or not. 16 copies of 3 x 256 bins are the 48 KiB that a block gets without
//     asking, so nothing else is kept in shared memory at the same time.

constexpr int THREADS = 192;
constexpr int WARPS = THREADS / 32;

template <int SIZE>
struct Wide {
    typedef u64 type;
};
template <>
struct Wide<1> {
    typedef u32 type;
};

template <typename T, int C, bool CROSS, bool HISTOGRAM>
struct Pixels {
    static constexpr int PAIRS = CROSS ? C * (C - 1) / 2 : 0;
    static constexpr u32 MAX = LARGEST<T>;
    static constexpr int COPIES = C == 4 ? 8 : 16;  // 4 channels: 8, because 16 would pass 48 KiB
    // One thread's products of bytes stay below 2^32 in a tile; those of 16-bit numbers do not.
    typedef typename Wide<sizeof(T)>::type wide;
    // The squares that a thread makes of its bins are of all pixels of the block.
    typedef typename Wide<HISTOGRAM ? 8 : sizeof(T)>::type wide_square;

    // Extremes of bytes are kept as widen() has them, others as maximum and MAX - minimum.
    static constexpr bool WIDENED = sizeof(T) == 1 && !HISTOGRAM;

    u32 sum[C] = {}, high[C] = {}, low[C];
    wide_square square[C] = {};
    wide product[PAIRS ? PAIRS : 1] = {};
    u32 pixels = 0;
    u32* bins;  // [C][BINS][COPIES], moved on to this thread's copy

    __device__ __forceinline__ Pixels() {
#pragma unroll
        for (int c = 0; c < C; ++c) low[c] = WIDENED ? 0xffffffffu : 0u;
    }

    __device__ __forceinline__ void bin(u32 value, int c) { atomicAdd(bins + (c * BINS + value) * COPIES, 1u); }

    // One pixel.
    __device__ __forceinline__ void one(const u32 (&x)[C]) {
        ++pixels;
        int pair = 0;
#pragma unroll
        for (int i = 0; i < C; ++i) {
            if constexpr (HISTOGRAM) {
                bin(x[i], i);
            } else {
                sum[i] += x[i];
                square[i] += (wide)x[i] * x[i];
                if constexpr (sizeof(T) == 1) {
                    widen(x[i] * 0x01010101u, high[i], low[i]);
                } else {
                    high[i] = max(high[i], x[i]);
                    low[i] = max(low[i], MAX - x[i]);
                }
            }
            if constexpr (CROSS) {
#pragma unroll
                for (int j = i + 1; j < C; ++j) product[pair++] += (wide)x[i] * x[j];
            }
        }
    }

    // Four pixels of bytes, one word a channel.
    __device__ __forceinline__ void four(const u32 (&x)[C]) {
        pixels += 4;
        int pair = 0;
#pragma unroll
        for (int i = 0; i < C; ++i) {
            if constexpr (HISTOGRAM) {
#pragma unroll
                for (int k = 0; k < 4; ++k) bin((x[i] >> (8 * k)) & 255u, i);
            } else {
                widen(x[i], high[i], low[i]);
                sum[i] = __dp4a(x[i], 0x01010101u, sum[i]);
                square[i] = __dp4a(x[i], x[i], (u32)square[i]);
            }
            if constexpr (CROSS) {
#pragma unroll
                for (int j = i + 1; j < C; ++j, ++pair) product[pair] = __dp4a(x[i], x[j], (u32)product[pair]);
            }
        }
    }

    // What follows from a bin of the whole block.
    __device__ __forceinline__ void of_bin(u32 value, int c, u32 count) {
        sum[c] += value * count;
        square[c] += (u64)(value * value) * count;
        high[c] = max(high[c], value);
        low[c] = max(low[c], MAX - value);
    }

    __device__ __forceinline__ u32 largest(int c) const { return WIDENED ? top_max(high[c]) : high[c]; }

    // MAX - minimum.
    __device__ __forceinline__ u32 from_top(int c) const { return WIDENED ? MAX - top_min(low[c]) : low[c]; }

    // One chunk: 16 bytes, or 48 for three channels; whole pixels from its first byte on.
    __device__ __forceinline__ void chunk(const uint4 (&v)[C == 3 ? 3 : 1]) {
        if constexpr (sizeof(T) == 1 && C == 1) {
            four({v[0].x});
            four({v[0].y});
            four({v[0].z});
            four({v[0].w});
        } else if constexpr (sizeof(T) == 1 && C == 2) {
            four({__byte_perm(v[0].x, v[0].y, 0x6420), __byte_perm(v[0].x, v[0].y, 0x7531)});
            four({__byte_perm(v[0].z, v[0].w, 0x6420), __byte_perm(v[0].z, v[0].w, 0x7531)});
        } else if constexpr (sizeof(T) == 1 && C == 3) {
            const u32 w[12] = {v[0].x, v[0].y, v[0].z, v[0].w, v[1].x, v[1].y,
                               v[1].z, v[1].w, v[2].x, v[2].y, v[2].z, v[2].w};
#pragma unroll
            for (int k = 0; k < 12; k += 3) {
                four({__byte_perm(__byte_perm(w[k], w[k + 1], 0x0630), w[k + 2], 0x5210),
                      __byte_perm(__byte_perm(w[k], w[k + 1], 0x0741), w[k + 2], 0x6210),
                      __byte_perm(__byte_perm(w[k], w[k + 1], 0x0052), w[k + 2], 0x7410)});
            }
        } else if constexpr (sizeof(T) == 1) {
            const u32 ab01 = __byte_perm(v[0].x, v[0].y, 0x5140), ab23 = __byte_perm(v[0].x, v[0].y, 0x7362);
            const u32 cd01 = __byte_perm(v[0].z, v[0].w, 0x5140), cd23 = __byte_perm(v[0].z, v[0].w, 0x7362);
            four({__byte_perm(ab01, cd01, 0x5410), __byte_perm(ab01, cd01, 0x7632),
                  __byte_perm(ab23, cd23, 0x5410), __byte_perm(ab23, cd23, 0x7632)});
        } else if constexpr (C == 2) {
            one({v[0].x & 0xffffu, v[0].x >> 16});
            one({v[0].y & 0xffffu, v[0].y >> 16});
            one({v[0].z & 0xffffu, v[0].z >> 16});
            one({v[0].w & 0xffffu, v[0].w >> 16});
        } else if constexpr (C == 3) {
            const u32 w[12] = {v[0].x, v[0].y, v[0].z, v[0].w, v[1].x, v[1].y,
                               v[1].z, v[1].w, v[2].x, v[2].y, v[2].z, v[2].w};
#pragma unroll
            for (int k = 0; k < 12; k += 3) {
                one({w[k] & 0xffffu, w[k] >> 16, w[k + 1] & 0xffffu});
                one({w[k + 1] >> 16, w[k + 2] & 0xffffu, w[k + 2] >> 16});
            }
        } else {
            one({v[0].x & 0xffffu, v[0].x >> 16, v[0].y & 0xffffu, v[0].y >> 16});
            one({v[0].z & 0xffffu, v[0].z >> 16, v[0].w & 0xffffu, v[0].w >> 16});
        }
    }
};

template <typename T, int C, bool CROSS, bool HISTOGRAM>
__device__ __forceinline__ void joint(const Segment* __restrict__ segments, const u32* __restrict__ tile_segment,
                                      u32 tile_vectors, u32 row_bins, double* sums, u64* counts, u32* extremes,
                                      u32* histogram) {
    typedef Pixels<T, C, CROSS, HISTOGRAM> Accumulator;
    constexpr int CHUNK_VECTORS = C == 3 ? 3 : 1;
    constexpr int CHUNK_PIXELS = CHUNK_VECTORS * 16 / (C * (int)sizeof(T));
    constexpr int AHEAD = C == 3 ? 2 : 4;  // chunks in flight
    constexpr int PAIRS = Accumulator::PAIRS, SUMS = 2 * C + PAIRS;
    constexpr int COPIES = Accumulator::COPIES;
    constexpr int BIN_WORDS = HISTOGRAM ? C * BINS * COPIES : 0;
    constexpr int REDUCE_WORDS = 2 * WARPS * (SUMS + 1 + C);
    // Once the bins are written out, the same memory serves the sums.
    constexpr int WORDS = BIN_WORDS > REDUCE_WORDS ? BIN_WORDS : REDUCE_WORDS;
    __shared__ __align__(16) u32 shared[WORDS];

    const u32 row = tile_segment[blockIdx.x];
    const Segment segment = segments[row];
    const u32 thread = threadIdx.x;
    const T* const start = (const T*)segment.address;
    const u64 pixels = segment.pixels;

    const u32 gap = (u32)((0 - segment.address) & 15u) / (u32)sizeof(T);
    constexpr u32 LANES = 16 / sizeof(T);
    // 3 * 11 = 33 = 1 modulo 16 and modulo 8, so 11 * gap pixels of 3 elements make up the gap.
    const u32 before = C == 3 ? (gap * 11) % LANES : gap / C;
    const u32 head = before < pixels ? before : (u32)pixels;
    const u64 chunks = (pixels - head) / CHUNK_PIXELS;
    const uint4* const aligned = (const uint4*)(start + (u64)head * C);
    const u32 tile_chunks = tile_vectors / CHUNK_VECTORS;
    const u64 tile = blockIdx.x - segment.first_tile;
    const u64 begin = tile * tile_chunks;
    const u64 end = begin + tile_chunks < chunks ? begin + tile_chunks : chunks;

    Accumulator acc;
    if constexpr (HISTOGRAM) {
        acc.bins = shared + thread % COPIES;
        for (int k = thread; k < BIN_WORDS / 4; k += THREADS) ((uint4*)shared)[k] = make_uint4(0, 0, 0, 0);
        __syncthreads();
    }

    if (tile == 0) {
        // Fewer than 16 pixels at each end: threads 0 to 15 and 16 to 31.
        const u64 tail = head + chunks * CHUNK_PIXELS;
        const u64 at = thread < 16 ? thread : tail + thread % 16;
        if (thread < 16 ? thread < head : (thread < 32 && at < pixels)) {
            u32 x[C];
#pragma unroll
            for (int c = 0; c < C; ++c) x[c] = start[at * C + c];
            acc.one(x);
        }
    }

    u64 i = begin + thread;
    for (; i + (AHEAD - 1) * THREADS < end; i += AHEAD * THREADS) {
        uint4 v[AHEAD][CHUNK_VECTORS];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a)
#pragma unroll
            for (int k = 0; k < CHUNK_VECTORS; ++k) v[a][k] = __ldg(aligned + (i + a * THREADS) * CHUNK_VECTORS + k);
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) acc.chunk(v[a]);
    }
    for (; i < end; i += THREADS) {
        uint4 v[CHUNK_VECTORS];
#pragma unroll
        for (int k = 0; k < CHUNK_VECTORS; ++k) v[k] = __ldg(aligned + i * CHUNK_VECTORS + k);
        acc.chunk(v);
    }

    if constexpr (HISTOGRAM) {
        __syncthreads();
#pragma unroll
        for (int c = 0; c < C; ++c) {
            for (u32 value = thread; value < BINS; value += THREADS) {
                const u32* const copies = shared + (c * BINS + value) * COPIES;
                u32 total = 0;
                // Start at another copy in every thread, or all threads would read the same two banks.
#pragma unroll
                for (int copy = 0; copy < COPIES; ++copy) total += copies[(copy + thread) % COPIES];
                if (total) {
                    atomicAdd(histogram + (u64)row * row_bins + c * BINS + value, total);
                    acc.of_bin(value, c, total);
                }
            }
        }
        __syncthreads();
    }

    u64* const partial = (u64*)shared;                       // [WARPS][SUMS + 1]
    u32* const partial_extremes = (u32*)(partial + WARPS * (SUMS + 1));  // [WARPS][2 * C]
    const u32 warp = thread / 32;
    const bool leader = thread % 32 == 0;
#pragma unroll
    for (int c = 0; c < C; ++c) {
        const u64 sum = warp_add((u64)acc.sum[c]), square = warp_add((u64)acc.square[c]);
        const u32 low = warp_max(acc.from_top(c)), high = warp_max(acc.largest(c));
        if (leader) {
            partial[warp * (SUMS + 1) + c] = sum;
            partial[warp * (SUMS + 1) + C + c] = square;
            partial_extremes[warp * 2 * C + 2 * c] = low;
            partial_extremes[warp * 2 * C + 2 * c + 1] = high;
        }
    }
    if constexpr (CROSS) {
#pragma unroll
        for (int pair = 0; pair < PAIRS; ++pair) {
            const u64 product = warp_add((u64)acc.product[pair]);
            if (leader) partial[warp * (SUMS + 1) + 2 * C + pair] = product;
        }
    }
    const u64 count = warp_add((u64)acc.pixels);
    if (leader) partial[warp * (SUMS + 1) + SUMS] = count;
    __syncthreads();

    if (thread <= SUMS) {
        u64 total = 0;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) total += partial[w * (SUMS + 1) + thread];
        if (thread == SUMS)
            atomicAdd(counts + row, total * C);
        else
            atomicAdd(sums + (u64)row * SUMS + thread, (double)total);
    } else if (thread >= 64 && thread < 64 + 2 * C) {
        u32 largest = 0;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) largest = max(largest, partial_extremes[w * 2 * C + thread - 64]);
        atomicMax(extremes + (u64)row * 2 * C + thread - 64, largest);
    }
}

#define JOINT(NAME, TYPE, CHANNELS, CROSS, HISTOGRAM)                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                       \
        NAME(const Segment* __restrict__ segments, const u32* __restrict__ tile_segment, u32 tile_vectors,      \
             u32 row_bins, double* sums, u64* counts, u32* extremes, u32* histogram) {                          \
        joint<TYPE, CHANNELS, CROSS, HISTOGRAM>(segments, tile_segment, tile_vectors, row_bins, sums, counts,   \
                                                extremes, histogram);                                           \
    }

JOINT(joint_u8_c2_cross, unsigned char, 2, true, false)
JOINT(joint_u8_c3_cross, unsigned char, 3, true, false)
JOINT(joint_u8_c4_cross, unsigned char, 4, true, false)
JOINT(joint_u8_c1_histogram, unsigned char, 1, false, true)
JOINT(joint_u8_c2_histogram, unsigned char, 2, false, true)
JOINT(joint_u8_c3_histogram, unsigned char, 3, false, true)
JOINT(joint_u8_c4_histogram, unsigned char, 4, false, true)
JOINT(joint_u8_c2_cross_histogram, unsigned char, 2, true, true)
JOINT(joint_u8_c3_cross_histogram, unsigned char, 3, true, true)
JOINT(joint_u8_c4_cross_histogram, unsigned char, 4, true, true)
JOINT(joint_u16_c2_cross, unsigned short, 2, true, false)
JOINT(joint_u16_c3_cross, unsigned short, 3, true, false)
JOINT(joint_u16_c4_cross, unsigned short, 4, true, false)
