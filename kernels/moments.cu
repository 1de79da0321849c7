// Per-row, per-channel moments of a ragged batch of interleaved uint8 or uint16 images, 1 to 4 channels.
//
// Computes, for every row (one image, one plane or one slice of an image) and channel:
//   sum, sum of squares, minimum, maximum, and the number of elements that were read.
//
// Inputs
//   segments      one Segment a row: where its pixels are, how many, and the number of its first tile
//   tile_segment  for every tile (= block) the row it belongs to; rows without pixels have no tile
//   tile_vectors  16-byte vectors a tile, a multiple of THREADS and at most 64 KiB
// Outputs, all zero-filled by the caller, because zero is the identity of what is done to them
//   sums      double [rows][2 * C]  sums of C channels, then sums of squares; integers below 2^53
//   counts    u64    [rows]         elements read; the caller compares it with pixels * C
//   extremes  u32    [rows][C][2]   (MAX - minimum), maximum
//
// Limits: a row's sum of squares must stay below 2^53 (uint8: 2^37 pixels; uint16: 2^21), then every
// partial sum is an exact integer and the order of the atomics cannot be seen in the result.
// uint8 rows may start at any byte, uint16 rows at any multiple of 2.
//
// Launch: grid = tiles, block = THREADS.
//   * Samples of a decoder's batch are packed without padding, so a row starts anywhere. A 16-byte load needs
//     a 16-byte address: bytes before the first such address and after the last whole vector (at most 15 each)
//     are read one by one, by tile 0 of the row.
//   * Vectors are read in memory order (a warp reads 512 contiguous bytes), not in whole pixels.
//     THREADS is a multiple of 3, so the vectors of one thread all begin with the same channel, even for
//     RGB, where 16 = 1 (mod 3). Inside a thread, channels are counted relative to that first one ("rel")
//     and put right once, after the loop.
//   * 255^2 times the bytes of a tile (64 KiB + 30) is below 2^32, so for uint8 a warp's total fits u32 and nothing
//     has to be flushed on the way (one thread's dp4a chain could take 16,512 words). For uint16 that
//     holds for the sums; squares are kept in u64.
//   * 18 vectors a thread (the default tile) are three rounds of six loads: enough in flight to hide the
//     latency of device memory, and enough work to pay for the reduction at the end.

constexpr int THREADS = 192;
constexpr int WARPS = THREADS / 32;

// ---------------------------------------------------------------- uint8: four elements of one channel a word

template <int C>
struct Bytes {
    static constexpr int PER_VECTOR = 16;
    static constexpr u32 MAX = LARGEST<unsigned char>;
    typedef unsigned char element;

    u32 sum[C] = {}, square[C] = {}, high[C] = {}, low[C];
    u32 high12 = 0, low12 = 0xffffffffu;  // C = 3, sm_90: channel 1 in the lower half, channel 2 in the upper

    __device__ __forceinline__ Bytes() {
#pragma unroll
        for (int c = 0; c < C; ++c) low[c] = 0xffffffffu;
    }

    __device__ __forceinline__ void word(u32 x, int c) {
        sum[c] = __dp4a(x, 0x01010101u, sum[c]);
        square[c] = __dp4a(x, x, square[c]);
        widen(x, high[c], low[c]);
    }

    __device__ __forceinline__ void one(u32 value, int c) {
        sum[c] += value;
        square[c] += value * value;
        widen(value * 0x01010101u, high[c], low[c]);
    }

    // The 12 bytes that hold four whole groups of three channels.
    __device__ __forceinline__ void twelve(u32 a, u32 b, u32 c) {
        word(__byte_perm(__byte_perm(a, b, 0x0630), c, 0x5210), 0);
        word(__byte_perm(__byte_perm(a, b, 0x0741), c, 0x6210), 1);
        word(__byte_perm(__byte_perm(a, b, 0x0052), c, 0x7410), 2);
    }

    // Bytes 12 to 15 of two vectors, channels 0 1 2 0 each: one full word of channel 0, half a word of 1 and 2.
    __device__ __forceinline__ void rest_of_two(u32 a, u32 b) {
        word(__byte_perm(a, b, 0x7430), 0);
        const u32 x = __byte_perm(a, b, 0x6251);
        sum[1] = __dp4a(x, 0x00000101u, sum[1]);
        sum[2] = __dp4a(x, 0x01010000u, sum[2]);
        square[1] = __dp4a(x, x & 0x0000ffffu, square[1]);
        square[2] = __dp4a(x, x & 0xffff0000u, square[2]);
#if __CUDA_ARCH__ >= 900
        widen(x, high12, low12);
#else
        high[1] = max(high[1], max(x << 16, x << 24));
        low[1] = min(low[1], min(x << 16, x << 24));
        high[2] = max(high[2], max(x, x << 8));
        low[2] = min(low[2], min(x, x << 8));
#endif
    }

    __device__ __forceinline__ void vector(const uint4& v) {
        if constexpr (C == 1) {
            word(v.x, 0);
            word(v.y, 0);
            word(v.z, 0);
            word(v.w, 0);
        } else if constexpr (C == 2) {
            word(__byte_perm(v.x, v.y, 0x6420), 0);
            word(__byte_perm(v.x, v.y, 0x7531), 1);
            word(__byte_perm(v.z, v.w, 0x6420), 0);
            word(__byte_perm(v.z, v.w, 0x7531), 1);
        } else if constexpr (C == 3) {
            twelve(v.x, v.y, v.z);
            one(v.w & 255u, 0);
            one((v.w >> 8) & 255u, 1);
            one((v.w >> 16) & 255u, 2);
            one(v.w >> 24, 0);
        } else {
            const u32 ab01 = __byte_perm(v.x, v.y, 0x5140), ab23 = __byte_perm(v.x, v.y, 0x7362);
            const u32 cd01 = __byte_perm(v.z, v.w, 0x5140), cd23 = __byte_perm(v.z, v.w, 0x7362);
            word(__byte_perm(ab01, cd01, 0x5410), 0);
            word(__byte_perm(ab01, cd01, 0x7632), 1);
            word(__byte_perm(ab23, cd23, 0x5410), 2);
            word(__byte_perm(ab23, cd23, 0x7632), 3);
        }
    }

    __device__ __forceinline__ void two_vectors(const uint4& a, const uint4& b) {
        if constexpr (C == 3) {
            twelve(a.x, a.y, a.z);
            twelve(b.x, b.y, b.z);
            rest_of_two(a.w, b.w);
        } else {
            vector(a);
            vector(b);
        }
    }

    // Turns the packed extremes into plain numbers: high = maximum, low = 255 - minimum.
    __device__ __forceinline__ void settle() {
#pragma unroll
        for (int c = 0; c < C; ++c) {
            high[c] = top_max(high[c]);
            low[c] = MAX - top_min(low[c]);
        }
        if constexpr (C == 3) {
            high[1] = max(high[1], (high12 >> 8) & 255u);
            high[2] = max(high[2], high12 >> 24);
            low[1] = max(low[1], MAX - ((low12 >> 8) & 255u));
            low[2] = max(low[2], MAX - (low12 >> 24));
        }
    }

    __device__ __forceinline__ u64 square_sum(int c) const { return square[c]; }
};

// ---------------------------------------------------------------- uint16: two elements a word

template <int C>
struct Words {
    static constexpr int PER_VECTOR = 8;
    static constexpr u32 MAX = LARGEST<unsigned short>;
    // Which channels a word's two lanes hold repeats after PERIOD words; extremes are kept per place in it.
    static constexpr int PERIOD = C == 3 ? 3 : (C == 4 ? 2 : 1);
    typedef unsigned short element;

    u32 sum[C] = {}, high[C] = {}, low[C] = {}, high2[PERIOD] = {}, low2[PERIOD];
    u64 square[C] = {};

    __device__ __forceinline__ Words() {
#pragma unroll
        for (int p = 0; p < PERIOD; ++p) low2[p] = 0xffffffffu;
    }

    __device__ __forceinline__ void add(u32 value, int c) {
        sum[c] += value;
        square[c] += (u64)value * value;
    }

    __device__ __forceinline__ void one(u32 value, int c) {
        add(value, c);
        high[c] = max(high[c], value);
        low[c] = max(low[c], MAX - value);
    }

    __device__ __forceinline__ void vector(const uint4& v) {
        const u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            add(words[j] & 0xffffu, (2 * j) % C);
            add(words[j] >> 16, (2 * j + 1) % C);
            high2[j % PERIOD] = __vmaxu2(high2[j % PERIOD], words[j]);
            low2[j % PERIOD] = __vminu2(low2[j % PERIOD], words[j]);
        }
    }

    __device__ __forceinline__ void two_vectors(const uint4& a, const uint4& b) {
        vector(a);
        vector(b);
    }

    __device__ __forceinline__ void settle() {
#pragma unroll
        for (int p = 0; p < PERIOD; ++p) {
            const int even = (2 * p) % C, odd = (2 * p + 1) % C;
            high[even] = max(high[even], high2[p] & 0xffffu);
            high[odd] = max(high[odd], high2[p] >> 16);
            low[even] = max(low[even], MAX - (low2[p] & 0xffffu));
            low[odd] = max(low[odd], MAX - (low2[p] >> 16));
        }
    }

    __device__ __forceinline__ u64 square_sum(int c) const { return square[c]; }
};

// ---------------------------------------------------------------- the kernel

// C values a thread counted relative to its first channel -> the values of absolute channels.
template <int C, typename V>
__device__ __forceinline__ void rotate(V (&values)[C], u32 first) {
    if constexpr (C == 3) {
        const V a = values[0], b = values[1], c = values[2];
        values[0] = first == 0 ? a : (first == 1 ? c : b);
        values[1] = first == 0 ? b : (first == 1 ? a : c);
        values[2] = first == 0 ? c : (first == 1 ? b : a);
    }
}

template <int C, template <int> class Lanes>
__device__ __forceinline__ void moments(const Segment* __restrict__ segments, const u32* __restrict__ tile_segment,
                                        u32 tile_vectors, double* sums, u64* counts, u32* extremes) {
    typedef Lanes<C> Accumulator;
    typedef typename Accumulator::element element;
    constexpr int PER_VECTOR = Accumulator::PER_VECTOR;
    // Squares are handed on in two parts, 26 bits and the rest, because the warp instruction adds u32.
    constexpr int SUM = 0, SQUARE = C, SQUARE_TOP = 2 * C, COUNT = 3 * C, LOW = 3 * C + 1, HIGH = 4 * C + 1;
    constexpr int VALUES = 5 * C + 1;
    __shared__ u32 partial[WARPS][VALUES];

    const u32 row = tile_segment[blockIdx.x];
    const Segment segment = segments[row];
    const u32 thread = threadIdx.x;
    const element* const start = (const element*)segment.address;
    const u64 elements = segment.pixels * C;
    const u32 gap = (u32)((0 - segment.address) & 15u) / (u32)sizeof(element);
    const u32 head = gap < elements ? gap : (u32)elements;
    const u64 vectors = (elements - head) / PER_VECTOR;
    const uint4* const aligned = (const uint4*)(start + head);
    const u64 tile = blockIdx.x - segment.first_tile;
    const u64 begin = tile * tile_vectors;
    const u64 end = begin + tile_vectors < vectors ? begin + tile_vectors : vectors;
    // Channel of the first element of each of this thread's vectors. For C = 3 it differs from thread to
    // thread (begin is a multiple of 3); for the others it is the same in the whole row.
    const u32 first = C == 3 ? (head + PER_VECTOR * thread) % C : head % C;

    Accumulator acc;
    u32 count = 0;

    if (tile == 0) {
        const u64 tail = head + vectors * PER_VECTOR;
        const u32 lane = thread % 16;
        const u64 at = thread < 16 ? lane : tail + lane;
        const bool mine = thread < 16 ? lane < head : (thread < 32 && at < elements);
        if (mine) {
            const u32 rel = ((u32)(at % C) + C - first) % C;
            const u32 value = start[at];
#pragma unroll
            for (int c = 0; c < C; ++c)
                if (rel == (u32)c) acc.one(value, c);
            ++count;
        }
    }

    u64 i = begin + thread;
    for (; i + 5 * THREADS < end; i += 6 * THREADS) {  // six independent 16-byte loads in flight
        uint4 v[6];
#pragma unroll
        for (int k = 0; k < 6; ++k) v[k] = __ldg(aligned + i + k * THREADS);
#pragma unroll
        for (int k = 0; k < 6; k += 2) acc.two_vectors(v[k], v[k + 1]);
        count += 6 * PER_VECTOR;
    }
    for (; i < end; i += THREADS) {
        acc.vector(__ldg(aligned + i));
        count += PER_VECTOR;
    }

    acc.settle();
    rotate<C>(acc.sum, first);
    rotate<C>(acc.square, first);
    rotate<C>(acc.low, first);
    rotate<C>(acc.high, first);

    u32 values[VALUES];
#pragma unroll
    for (int c = 0; c < C; ++c) {
        const u64 square = acc.square_sum(c);
        values[SUM + c] = warp_add(acc.sum[c]);
        values[SQUARE + c] = sizeof(element) == 1 ? warp_add((u32)square) : warp_add((u32)square & 0x3ffffffu);
        values[SQUARE_TOP + c] = sizeof(element) == 1 ? 0u : warp_add((u32)(square >> 26));
        values[LOW + c] = warp_max(acc.low[c]);
        values[HIGH + c] = warp_max(acc.high[c]);
    }
    values[COUNT] = warp_add(count);
    if (thread % 32 == 0) {
#pragma unroll
        for (int k = 0; k < VALUES; ++k) partial[thread / 32][k] = values[k];
    }
    __syncthreads();

    if (thread < VALUES) {
        u64 total = 0;
        u32 largest = 0;
#pragma unroll
        for (int warp = 0; warp < WARPS; ++warp) {
            total += partial[warp][thread];
            largest = max(largest, partial[warp][thread]);
        }
        // For C = 2 and 4 'first' still has to be added to the channel; for C = 3 rotate() has done it.
        const u32 channel = C == 3 ? (thread - (thread > COUNT)) % C : ((thread - (thread > COUNT)) % C + first) % C;
        if (thread < SQUARE) {
            atomicAdd(sums + (u64)row * 2 * C + channel, (double)total);
        } else if (thread < SQUARE_TOP) {
            atomicAdd(sums + (u64)row * 2 * C + C + channel, (double)total);
        } else if (thread < COUNT) {
            if (sizeof(element) == 2) atomicAdd(sums + (u64)row * 2 * C + C + channel, (double)(total << 26));
        } else if (thread == COUNT) {
            atomicAdd(counts + row, total);
        } else {
            atomicMax(extremes + ((u64)row * C + channel) * 2 + (thread >= HIGH), largest);
        }
    }
}

#define MOMENTS(NAME, LANES, CHANNELS)                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                       \
        NAME(const Segment* __restrict__ segments, const u32* __restrict__ tile_segment, u32 tile_vectors,      \
             double* sums, u64* counts, u32* extremes) {                                                        \
        moments<CHANNELS, LANES>(segments, tile_segment, tile_vectors, sums, counts, extremes);                 \
    }

MOMENTS(moments_u8_c1, Bytes, 1)
MOMENTS(moments_u8_c2, Bytes, 2)
MOMENTS(moments_u8_c3, Bytes, 3)
MOMENTS(moments_u8_c4, Bytes, 4)
MOMENTS(moments_u16_c1, Words, 1)
MOMENTS(moments_u16_c2, Words, 2)
MOMENTS(moments_u16_c3, Words, 3)
MOMENTS(moments_u16_c4, Words, 4)
