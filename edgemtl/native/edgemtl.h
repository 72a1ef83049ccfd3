/* The C core of edgemtl: pre-processing, post-processing and tracking of one frame.
 *
 * Pure C11 over buffers that the caller owns: no allocation, no globals, no I/O, no errno. Every
 * function trusts its arguments (the glue in module_*.c checks them once) and returns a count or EM_OK when all
 * is well, a negative EM_E... otherwise. A function that needs working memory has a twin,
 * em_..._scratch(), that says how many bytes; scratch must be aligned to 16 bytes.
 *
 * Conventions: boxes are x1, y1, x2, y2 (float32, continuous coordinates: the left edge of the
 * first pixel is 0, its right edge 1). Pictures are rows of interleaved BGR bytes. Times are
 * nanoseconds. n = 0 is ordinary input everywhere; what NaN does is said at each function.
 */
#ifndef EDGEMTL_H
#define EDGEMTL_H

#include <stddef.h>
#include <stdint.h>

enum {
    EM_OK = 0,
    EM_EARG = -1,  /* an argument outside its range */
    EM_ETIME = -2, /* a time stamp before the previous one */
};

/* ---- preprocess.c, nv12.c: pictures ------------------------------------------------------------- */

/* Which instructions a kernel may use. All levels give the same bits; they differ in speed. */
typedef enum {
    EM_FASTEST = 0, /* of those that this processor has */
    EM_PORTABLE = 1,
    EM_AVX2 = 2,
    EM_NEON = 3,
} em_level;

/* 1 if this build and this processor have the level. */
int em_has_level(em_level level);

typedef enum { EM_INT8 = 0, EM_UINT8 = 1, EM_FLOAT32 = 2 } em_dtype;
typedef enum { EM_CENTER = 0, EM_TOP_LEFT = 1 } em_align;

/* Where the resized source lies inside the network input: net = src * scale + pad. */
typedef struct {
    int32_t src_h, src_w, net_h, net_w;
    int32_t top, left, height, width; /* the resized picture, in network pixels */
} em_geometry;

typedef struct {
    const uint8_t *data; /* first byte of the first row */
    ptrdiff_t row_stride; /* bytes from row to row; may be negative */
    int32_t height, width;
} em_image;

/* A source level p (0 to 255) is stored as dtype(p * scale + offset), integers saturated. */
typedef struct {
    em_dtype dtype;
    int32_t swap_rb; /* 1: the planes are R, G, B; 0: B, G, R */
    float scale, offset;
    uint8_t pad; /* level of the border */
} em_pixel_format;

/* The largest picture of the source's aspect ratio that fits, rounded to whole pixels.
 * EM_EARG: a size below 1. */
int em_letterbox_geometry(int32_t src_h, int32_t src_w, int32_t net_h, int32_t net_w,
                          em_align align, em_geometry *geometry);

size_t em_letterbox_scratch(const em_geometry *geometry);

/* Bilinear resize (pixel centres at + 0.5, edges repeated: OpenCV's INTER_LINEAR), border, colour
 * order, conversion and BGR -> planar in one pass. out: 3 * net_h * net_w elements of the dtype.
 * Reads exactly 3 * src_w bytes of each row. */
int em_letterbox(const em_image *image, const em_geometry *geometry,
                 const em_pixel_format *format, void *out, void *scratch);

/* The same at a given level. EM_EARG: not a level of this processor. */
int em_letterbox_at(em_level level, const em_image *image, const em_geometry *geometry,
                    const em_pixel_format *format, void *out, void *scratch);

/* Y'CbCr of limited range (luma 16 to 235), ITU-R BT.601 or BT.709. */
typedef enum { EM_BT601 = 0, EM_BT709 = 1 } em_matrix_kind;

/* A plane of luma [src_h][src_w] and one of interleaved U, V [src_h / 2][src_w], both sides even:
 * what video decoders give. A chroma sample lies in the middle of its 2 x 2 pixels. */
typedef struct {
    const uint8_t *y, *uv;         /* first byte of the first row */
    ptrdiff_t y_stride, uv_stride; /* bytes from row to row; may be negative */
    em_matrix_kind matrix;
} em_nv12;

size_t em_letterbox_nv12_scratch(const em_geometry *geometry);

/* em_letterbox of an NV12 picture, without a BGR picture in between: luma and chroma are resized
 * bilinearly, each from its own resolution, then converted and clipped to 0 to 255. (A detour
 * over BGR repeats each chroma sample over its 2 x 2 pixels and clips before the resize.) Reads
 * exactly src_w bytes of each row of both planes. */
int em_letterbox_nv12(const em_nv12 *image, const em_geometry *geometry,
                      const em_pixel_format *format, void *out, void *scratch);
int em_letterbox_nv12_at(em_level level, const em_nv12 *image, const em_geometry *geometry,
                         const em_pixel_format *format, void *out, void *scratch);

/* ---- detect.c: boxes -------------------------------------------------------------------- */

typedef struct {
    float scale_x, scale_y, pad_x, pad_y; /* net = src * scale + pad */
    float src_w, src_h;
} em_mapping;

/* boxes, out: [n][4], may be the same array. NaN stays NaN. to_src clips to the source. */
int em_boxes_to_net(const float *boxes_src, int32_t n, const em_mapping *mapping, float *out);
int em_boxes_to_src(const float *boxes_net, int32_t n, const em_mapping *mapping, float *out);

/* Rows of one frame of the network's output, or of its detections. */
typedef struct {
    const float *boxes;      /* [n][4] */
    const float *scores;     /* [n] */
    const int32_t *labels;   /* [n] */
    const float *embeddings; /* [n][dim], or NULL */
    int32_t n, dim;
} em_rows;

typedef struct {
    float *boxes;
    float *scores;
    int32_t *labels;
    float *embeddings; /* NULL if the rows have none */
} em_rows_out;

/* Rows with score >= min_score, boxes mapped to the source and clipped; returns their number
 * (at most rows->n, which out must hold), in order. Dropped: a score or box that is not finite,
 * and boxes without area inside the source. An embedding that is not finite becomes zeros, which
 * the tracker reads as "appearance unknown". */
int em_decode(const em_rows *rows, const em_mapping *mapping, float min_score,
              const em_rows_out *out);

/* out: [n][m] intersection over union; 0 where a box is not finite or has no area. */
int em_iou(const float *a, int32_t n, const float *b, int32_t m, float *out);

/* ---- nms.c ------------------------------------------------------------------------------ */

size_t em_rank_scratch(int32_t n);

/* order[n]: the rows by descending score, the lower row first among equal ones (-0 equals 0).
 * Returns their number: scores that are not finite are left out. */
int em_rank(const float *scores, int32_t n, int32_t *order, void *scratch);

typedef struct {
    double iou;             /* a box goes if its IoU with a better one is above; from 1: none goes */
    int32_t class_agnostic; /* 0: only boxes of one label suppress each other */
    int32_t max_out;        /* the best so many are kept */
} em_nms_options;

size_t em_nms_scratch(int32_t n);

/* Greedy suppression, best score first, the lower row first among equal scores. keep[n]: the rows
 * that stay, in that order; returns their number. rows->embeddings are not read. IoU is computed
 * in float32: a box whose area that cannot hold (sides near 1e-20 or 1e20) suppresses nothing.
 * Left out: a score or box that is not finite, and boxes without area. */
int em_nms(const em_rows *rows, const em_nms_options *options, int32_t *keep, void *scratch);

/* ---- foreign.c: adopted detectors ------------------------------------------------------- */

/* What one picture's output holds; A anchors, C classes, boxes in network pixels. */
typedef enum {
    EM_YOLOX = 0,        /* [A][5 + C]: offsets and log sides per cell, objectness, classes */
    EM_YOLOX_PIXELS = 1, /* the same with centre x, y, width, height: the graph did the grid */
    EM_YOLOV8 = 2,       /* [4 + C][A]: centre x, y, width, height, classes */
    EM_N6 = 3,           /* [A][6]: x1, y1, x2, y2, score, class; ready-made */
} em_raw_kind;

typedef struct {
    em_raw_kind kind;
    const float *values;
    int32_t anchors, classes; /* classes is at least 1 */
    int32_t net_h, net_w;     /* EM_YOLOX: anchors is em_yolox_anchors(net_h, net_w) */
} em_raw;

/* Cells of the grids of strides 8, 16 and 32, in this order, each by rows (Ge et al. 2021). */
int32_t em_yolox_anchors(int32_t net_h, int32_t net_w);

/* At most so many anchors go on to the suppression: the best by score. */
enum { EM_MOST_CANDIDATES = 4096 };

size_t em_decode_raw_scratch(const em_raw *raw);

/* Anchors whose best class scores at least min_score (YOLOX: objectness * class; classes are at
 * most 1, so those with less objectness are not looked at), best first, the lower anchor first
 * among equal ones, the first class among equal ones. out holds min(A, EM_MOST_CANDIDATES) rows;
 * out->embeddings is not touched. Returns their number. A class score that is NaN loses, a score
 * that is not finite drops its anchor, as does a class outside the list (EM_N6); boxes may hold
 * NaN, which em_nms drops. */
int em_decode_raw(const em_raw *raw, float min_score, const em_rows_out *out, void *scratch);

size_t em_detect_scratch(const em_raw *raw);

/* em_decode_raw, em_nms, em_decode: one picture's output into detections in source pixels, best
 * first. out holds min(A, EM_MOST_CANDIDATES, options->max_out) rows. Returns their number. */
int em_detect(const em_raw *raw, const em_mapping *mapping, float min_score,
              const em_nms_options *options, const em_rows_out *out, void *scratch);

/* ---- assign.c --------------------------------------------------------------------------- */

/* A sparse n x m problem in compressed rows: row i may take column[k] at cost[k] for
 * start[i] <= k < start[i + 1]. Pairs that are not listed are forbidden; of a pair that is listed
 * twice the cheaper counts. Costs are finite and below 1e200 on either side, of any sign and range.
 * At most 2^31 - 1 pairs: start could not count more. A caller with a smaller cap leaves pairs out,
 * the dearest first, and the optimum is then that of what it lists. */
typedef struct {
    const int32_t *start; /* [n + 1] */
    const int32_t *column;
    const double *cost;
    int32_t n, m;
} em_pairs;

size_t em_assign_scratch(int32_t n, int32_t m, int32_t pairs);

/* Exact assignment by shortest augmenting paths (Jonker and Volgenant 1987; Dijkstra with a heap
 * on the sparse graph). Minimises the sum of the matched costs + unmatched_cost per row without a
 * partner. unmatched_cost = INFINITY, or so much that it comes to the same, asks for the most pairs
 * first, then for the least cost among them; it must not be NaN or -INFINITY.
 * Exact to the last unit for whole numbers (or multiples of one power of two) while n times the
 * largest stays below 2^52 of them; else up to the rounding of sums of doubles.
 * row_to_column[n]: -1 where unmatched. Returns the number of pairs. */
int em_assign(const em_pairs *pairs, double unmatched_cost, int32_t *row_to_column,
              void *scratch);

size_t em_assign_dense_scratch(int32_t n, int32_t m);

/* The same over a dense cost[n][m]: NaN, infinities, costs above max_cost and those of 1e200 and
 * beyond on either side are forbidden. n * m is below 2^31. */
int em_assign_dense(const double *cost, int32_t n, int32_t m, double max_cost,
                    double unmatched_cost, int32_t *row_to_column, void *scratch);

/* ---- kalman.c --------------------------------------------------------------------------- */

/* Centre x, centre y, width, height: four independent filters of position and velocity. */
typedef struct {
    double x, v;          /* pixels, pixels per second */
    double pxx, pxv, pvv; /* covariance */
} em_axis;

typedef struct {
    em_axis axis[4];
} em_kalman;

/* Noise relative to the object's size (the root of its area, in pixels). */
typedef struct {
    double position;      /* sd of a measured centre, in sizes */
    double width, height; /* sd of a measured side, in sizes */
    double acceleration;  /* sqrt of the acceleration's spectral density, sizes / s^1.5 */
    double initial_speed; /* sd of a new object's speed, sizes / s */
    double shape;         /* the sides' motion noise relative to the centre's */
} em_kalman_noise;

void em_kalman_start(em_kalman *filter, const double measured[4], const em_kalman_noise *noise,
                     double trust);

/* The variance, in square pixels, of a measurement of axis 0 to 3 (centre x, centre y, width,
 * height). */
double em_kalman_measured(const em_kalman *filter, int axis, const em_kalman_noise *noise,
                          double trust);

/* Constant velocity driven by white-noise acceleration over dt seconds (Bar-Shalom, Li and
 * Kirubarajan 2001, section 6.2.2). dt = 0 changes nothing. */
void em_kalman_predict(em_kalman *filter, double dt, const em_kalman_noise *noise);

/* trust multiplies the sd of the measurement: 1 ordinary, above 1 for doubtful ones. */
void em_kalman_update(em_kalman *filter, const double measured[4], const em_kalman_noise *noise,
                      double trust);

/* x1, y1, x2, y2 of the state. */
void em_kalman_box(const em_kalman *filter, double box[4]);

/* ---- kalman_frame.c --------------------------------------------------------------------- */

/* Centre x, centre y, width / height, height, in pixels; speeds are per frame. */
typedef struct {
    em_axis axis[4];
} em_frame_kalman;

/* DeepSORT's filter (arXiv 1703.07402) with its noises relative to the height. They are
 * independent of each other, so its 8 x 8 matrices are four of 2 x 2. Measured heights are above 0
 * and all numbers finite. */
void em_frame_kalman_start(em_frame_kalman *filter, const double measured[4]);
void em_frame_kalman_predict(em_frame_kalman *filter);
void em_frame_kalman_update(em_frame_kalman *filter, const double measured[4]);

/* x1, y1, x2, y2 of the state; without area where a predicted side is not above 0. */
void em_frame_kalman_box(const em_frame_kalman *filter, double box[4]);

/* ---- keep_best.c ------------------------------------------------------------------------ */

/* Of the rows with keep[i] != 0 all but the best `room` are set to 0; of equal scores the first
 * stay. Their scores are finite and not negative. Returns how many were set to 0. */
int32_t em_keep_best(const float *scores, int32_t n, int32_t room, uint8_t *keep);

/* ---- tracker.c -------------------------------------------------------------------------- */

/* Scores count as shares of their class's score scale in this stream: the mean of the scores of that
 * class, each weighted by its own cube, over about ten seconds, from 0.7 where nothing is known yet
 * and never below 0.35. So one set of numbers serves detectors of any confidence, and classes that a
 * detector is less sure of leave the others alone.
 * The labels 0 to EM_TRACKER_CLASSES - 1 have a scale each; all others, whatever they are, share one.
 * A detection is a share of the scale of its own label. Shares of several labels add up in a track;
 * whether it is shown is then asked of the scale of the label that it has. */
#define EM_TRACKER_CLASSES 512

typedef struct {
    float min_score;      /* detections below are ignored; not a share */
    float strong_score;   /* from here: first association; below: the second */
    float birth_score;    /* from here an unmatched detection starts a track */
    float confirm_score;  /* sum of scores that confirms a track */
    float show_odds;      /* a track is reported while the odds of its mean score, p / (1 - p), are at
                             least those of its label's scale divided by this */
    float lost_s;         /* life of a confirmed track without detections; no gap in time outlives it */
    float tentative_s;    /* the same before its confirmation */
    float coast_s;        /* how long a track without detections is still shown */
    float fade_s;         /* the speed of what nobody sees fades with this time constant */
    float position_noise, size_noise, acceleration_noise, initial_speed, shape_noise;
    float max_distance;   /* gate: centre distance in object sizes */
    float iou_weight;     /* share of 1 - IoU in the cost of a place, the rest is the distance */
    float likelihood_weight; /* share of the filter's own likelihood in the cost, the rest is place */
    float direction_weight;  /* added for a detection straight behind, half for one beside */
    float height_weight;     /* times 1 - the smaller over the larger height */
    float min_height_ratio;
    float tentative_penalty; /* added to the cost of a track that is not confirmed */
    float class_penalty;  /* added to the cost of a pair of unlike classes */
    float appearance_weight;
    float max_cost, max_cost_second;
    float camera_motion;  /* 1: common motion of the matched tracks moves the others too; 0: no */
} em_tracker_config;

/* T tracks of a frame. Each array holds em_tracker_capacity() rows. */
typedef struct {
    int64_t *ids;       /* from 1 */
    float *boxes;       /* [T][4] smoothed, clipped to the picture */
    float *scores;
    int32_t *labels;
    int32_t *det_index; /* -1: no detection in this frame */
} em_tracks_out;

typedef struct em_tracker em_tracker;

/* The bytes of a tracker that holds at most capacity tracks; dim 0 = no embeddings. About 8 KB of
 * them are the score scales. */
size_t em_tracker_size(int32_t capacity, int32_t dim);

/* Make a tracker in caller's memory of that size, aligned to 16 bytes. */
em_tracker *em_tracker_init(void *memory, const em_tracker_config *config, int32_t capacity,
                            int32_t dim);

/* Forget all tracks and score scales; ids start again from 1. */
void em_tracker_reset(em_tracker *tracker);

/* Births refused since the start because the tracker was full. */
int64_t em_tracker_refused(const em_tracker *tracker);

/* Working memory of a step over n detections, up to 1e6. */
size_t em_tracker_scratch(const em_tracker *tracker, int32_t n);

typedef struct {
    int64_t pts_ns;
    int32_t height, width;
    const double *camera; /* NULL, or [6]: x' = c0 x + c1 y + c2, y' = c3 x + c4 y + c5 takes a still
                             point of the frame before to this one; finite, its
                             determinant not 0 */
} em_frame_info;

/* One frame: predict, associate, update, start and end tracks. In an association each track keeps
 * its 32 cheapest candidates; beyond that many the assignment is exact among the kept. Returns the number of confirmed
 * tracks written to out. Detections with NaN, without area or beyond 1e6 pixels are ignored; an
 * embedding that is not finite or shorter than 0.5 means "appearance unknown". A full tracker
 * refuses the births with the lowest scores.
 * EM_ETIME: pts_ns is before the last one (nothing has changed then). Equal stamps are allowed. */
int em_tracker_step(em_tracker *tracker, const em_rows *detections, const em_frame_info *frame,
                    const em_tracks_out *out, void *scratch);

/* ---- bytetrack.c ------------------------------------------------------------------------ */

typedef struct {
    float min_score;         /* detections below are ignored */
    float track_thresh;      /* from here: first association; below: the second */
    float high_thresh;       /* from here an unmatched detection starts a track */
    float match_thresh;      /* largest cost of a pair of the first association, 0 to 1 */
    int32_t track_buffer;    /* a track ends when it was unseen for more frames than these */
    int32_t fuse_score;      /* 1: the cost is 1 - IoU * score; 0: 1 - IoU */
    int32_t match_predicted; /* 1: by predicted boxes; 0: by those of a track's last detection */
} em_bytetrack_config;

typedef struct em_bytetrack em_bytetrack;

/* The bytes of a tracker that holds at most capacity tracks, lost ones included. */
size_t em_bytetrack_size(int32_t capacity);

/* Make a tracker in caller's memory of that size, aligned to 16 bytes. */
em_bytetrack *em_bytetrack_init(void *memory, const em_bytetrack_config *config,
                                int32_t capacity);

/* Forget all tracks; frames and ids start again from 1. */
void em_bytetrack_reset(em_bytetrack *tracker);

/* Births refused since the start because the tracker was full. */
int64_t em_bytetrack_refused(const em_bytetrack *tracker);

/* Working memory of a step over n detections. */
size_t em_bytetrack_scratch(const em_bytetrack *tracker, int32_t n);

/* One frame of ByteTrack (arXiv 2110.06864): its motion and its life times count frames. Returns
 * the number of tracks seen in this frame and in one before (in the first frame: of all), with
 * their smoothed boxes, which may reach beyond the picture; a track's class is that of its
 * detection, and classes do not decide who matches. Embeddings are not used. Detections with NaN,
 * without area or beyond 1e6 pixels are ignored; a track whose smoothed box has no area or lies
 * beyond 2e6 pixels is not reported. A full tracker refuses the births with the lowest scores. Of
 * the detections that overlap a track, the 64 nearest are looked at.
 * EM_ETIME: pts_ns is before the last one (nothing has changed then). Equal stamps are allowed. */
int em_bytetrack_step(em_bytetrack *tracker, const em_rows *detections, int64_t pts_ns,
                      const em_tracks_out *out, void *scratch);

#endif
