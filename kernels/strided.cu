// Moments, cross products and histograms of uint8 or uint16 images with any number of channels, interleaved
// or planar, at any address: what moments.cu and joint.cu do not take. Right for everything, tuned for nothing.
//
// Computes, for every row (one image or one slice of an image) and channel: sum, sum of squares, minimum,
// maximum; with pairs > 0 the sums of x_i * x_j, i < j; in *_histogram also 256 bins (uint8).
//
// Inputs
//   segments      one Segment a row; element (p, c) of a row is at p * pixel_stride + c * channel_stride
//   tile_segment  for every tile (= block) the row it belongs to; rows without pixels have no tile
//   tile_pixels   pixels a tile, at most 2^16
//   channels, pairs (0 or channels * (channels - 1) / 2), pixel_stride in elements
//   row_bins      bins from a row to the next: channels * 256, or 0 where all rows are counted in the same bins
// Outputs, all zero-filled by the caller
//   sums       double [rows][2 * channels + pairs]  sums, sums of squares, products (0,1) (0,2) ... in order
//   counts     u64    [rows]                        elements read for sums (pixels * channels)
//   extremes   u32    [rows][channels][2]           (MAX - minimum), maximum
//   histogram  u32    [rows][channels][256], or [channels][256] where row_bins is 0
//
// Limits: sums of products below 2^53 a row (uint8: 2^37 pixels; uint16: 2^21); fewer than 2^32 pixels are
// counted in the same bins.
//
// Launch: grid = tiles, block = THREADS. A warp takes one task at a time, a channel or a pair of
// channels, and walks over the tile's pixels. The tile is small enough that it stays in the L1 cache
// while the warps read it again and again, so device memory is read once. No table in shared memory or
// registers grows with the number of channels.

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;

template <typename T, bool HISTOGRAM>
__device__ __forceinline__ void strided(const Segment* __restrict__ segments, const u32* __restrict__ tile_segment,
                                        u32 tile_pixels, u32 channels, u32 pairs, u32 pixel_stride, u32 row_bins,
                                        double* sums, u64* counts, u32* extremes, u32* histogram) {
    constexpr u32 MAX = LARGEST<T>;
    __shared__ u32 bins[HISTOGRAM ? WARPS : 1][HISTOGRAM ? BINS : 1];

    const u32 row = tile_segment[blockIdx.x];
    const Segment segment = segments[row];
    const u64 begin = (u64)(blockIdx.x - segment.first_tile) * tile_pixels;
    const u64 left = segment.pixels - begin;
    const u32 pixels = left < tile_pixels ? (u32)left : tile_pixels;
    const T* const start = (const T*)segment.address + begin * pixel_stride;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    double* const row_sums = sums + (u64)row * (2 * channels + pairs);

    for (u32 c = warp; c < channels; c += WARPS) {
        const T* const plane = start + c * segment.channel_stride;
        u32 sum = 0, low = 0, high = 0, count = 0;
        u64 square = 0;
        if constexpr (HISTOGRAM) {
            for (u32 bin = lane; bin < BINS; bin += 32) bins[warp][bin] = 0;
            __syncwarp();
        }
#pragma unroll 4
        for (u32 p = lane; p < pixels; p += 32) {
            const u32 x = __ldg(plane + (u64)p * pixel_stride);
            sum += x;
            square += (u64)x * x;
            high = max(high, x);
            low = max(low, MAX - x);
            ++count;
            if constexpr (HISTOGRAM) atomicAdd(&bins[warp][x], 1u);
        }
        const u64 total = warp_add((u64)sum), total_square = warp_add(square);
        low = warp_max(low);
        high = warp_max(high);
        count = warp_add(count);
        if (lane == 0) {
            atomicAdd(row_sums + c, (double)total);
            atomicAdd(row_sums + channels + c, (double)total_square);
            atomicMax(extremes + ((u64)row * channels + c) * 2, low);
            atomicMax(extremes + ((u64)row * channels + c) * 2 + 1, high);
            atomicAdd(counts + row, (u64)count);
        }
        if constexpr (HISTOGRAM) {
            __syncwarp();
            // Each lane takes the bins that it clears for the next channel, so no barrier has to follow.
            for (u32 bin = lane; bin < BINS; bin += 32)
                if (bins[warp][bin]) atomicAdd(histogram + (u64)row * row_bins + c * BINS + bin, bins[warp][bin]);
        }
    }

    for (u32 pair = warp; pair < pairs; pair += WARPS) {
        u32 i = 0, first = 0;  // pair 'first' is (i, i + 1)
        while (pair >= first + channels - 1 - i) {
            first += channels - 1 - i;
            ++i;
        }
        const u32 j = i + 1 + pair - first;
        const T* const plane_i = start + i * segment.channel_stride;
        const T* const plane_j = start + j * segment.channel_stride;
        u64 product = 0;
#pragma unroll 4
        for (u32 p = lane; p < pixels; p += 32) {
            const u64 at = (u64)p * pixel_stride;
            product += (u64)__ldg(plane_i + at) * __ldg(plane_j + at);
        }
        product = warp_add(product);
        if (lane == 0) atomicAdd(row_sums + 2 * channels + pair, (double)product);
    }
}

#define STRIDED(NAME, TYPE, HISTOGRAM)                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                         \
        NAME(const Segment* __restrict__ segments, const u32* __restrict__ tile_segment, u32 tile_pixels,         \
             u32 channels, u32 pairs, u32 pixel_stride, u32 row_bins, double* sums, u64* counts, u32* extremes,   \
             u32* histogram) {                                                                                    \
        strided<TYPE, HISTOGRAM>(segments, tile_segment, tile_pixels, channels, pairs, pixel_stride, row_bins,    \
                                 sums, counts, extremes, histogram);                                              \
    }

STRIDED(strided_u8, unsigned char, false)
STRIDED(strided_u8_histogram, unsigned char, true)
STRIDED(strided_u16, unsigned short, false)
