/* The fast path (fused.py) on the CPU for float32, bfloat16 and float16 logits: value and gradient of a weighted sum
 * of losses, row by row, with all passes over a row while it is in the L1 cache. native.py calls it.
 *
 * With m the largest logit, d = z - m, e = exp d, s the sum of e over the classes and x = -log p = log s - d,
 * the gradient of every sum of terms is
 *
 *     g_k = scale (e_k H/s + lift + f phi'(x_k) - [k = y] rise)
 *
 * (fused.py derives it). At the label the terms are a few numbers per row, in double precision; only normalized
 * cross entropy (the sum of d) and one normalized focal loss (phi and phi' of each class) need a sum over the
 * classes. Everything else is left to fused.py.
 *
 * Rows are independent and sums have a fixed order, so that results do not depend on the number of threads.
 * Do not compile with -ffast-math: infinities and NaN propagate as in torch.
 */

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Without hardware support fmaf would run in software. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define FMA(a, b, c) fmaf(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

#ifndef ABI /* the checksum of this source, see compile_native.py */
#define ABI 0
#endif

enum { MAX_TERMS = 16, MAX_THREADS = 64, LANES = 16, NARROW = 32, CHUNK = 1024 };

/* In the order of FUNCTIONS in native.py. */
enum function { CE, FL, MAE, RCE, GCE, TAYLOR_CE, PHUBER_CE, AGCE, AUL, AEL, JS, POLY1 };

typedef struct {
    int32_t function;
    double weight; /* already divided by the sum over the labels if that is constant */
    double a, b;   /* the function's parameters, in the order of its signature in pointwise.py */
} term;

typedef struct {
    int32_t count;
    term terms[MAX_TERMS]; /* the terms at the label */
    double nce;            /* weight of normalized cross entropy; 0: none */
    double nfl;            /* weight of normalized focal loss; 0: none */
    double gamma;          /* the focal loss's parameters */
    int32_t detach;
} plan;

/* Type of the logits and the gradient; the gradient of float16 logits is float32, because a gradient scaler
 * multiplies it before it is rounded. */
enum kind { FLOAT32, BFLOAT16, FLOAT16 };

/* The arguments of a call. A row with an ignored label has value and gradient 0. */
typedef struct {
    const plan *plan;
    const void *logits;   /* rows x classes */
    const int64_t *label; /* rows */
    const float *weight;  /* classes; or NULL */
    double *values;       /* rows, class weights applied */
    void *gradient;       /* rows x classes; may be the logits, which it then overwrites; or NULL */
    int64_t rows, classes, ignore;
    int32_t kind, ignores; /* ignores: 1 if `ignore` is set */
    double scale;          /* factor of gradients, besides the class weights */
} work;

static inline float as_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline uint32_t as_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* Convert a row of half precision to float32, and a row of float32 to bfloat16, rounding half to even. */
static void widen(const uint16_t *restrict from, float *restrict to, int64_t n, int kind) {
    if (kind == BFLOAT16) {
#pragma omp simd
        for (int64_t k = 0; k < n; k++) to[k] = as_float((uint32_t)from[k] << 16);
    } else {
#pragma omp simd
        for (int64_t k = 0; k < n; k++) {
            uint32_t h = from[k], magnitude = (h & 0x7fffu) << 13;
            uint32_t finite = as_bits(as_float(magnitude) * 0x1p112f); /* rebiased; also for subnormals */
            to[k] = as_float((magnitude < 0x0f800000u ? finite : magnitude | 0x7f800000u) | (h & 0x8000u) << 16);
        }
    }
}

static void round_to_bfloat16(const float *restrict from, uint16_t *restrict to, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; k++) {
        uint32_t bits = as_bits(from[k]), rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
        to[k] = (uint16_t)(from[k] == from[k] ? rounded : 0x7fc0u);
    }
}

/* Return e^d for d <= 0, exact to the last bit or two; 0 below the smallest normal number. */
static inline float exp_(float d) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to whole numbers, found in the low bits */
    float t = d * 1.44269504f + magic;
    float n = t - magic;
    float r = FMA(n, -0.693145752f, d); /* ln 2 in two parts */
    r = FMA(n, -1.42860677e-6f, r);
    float p = 1.0f / 5040; /* Taylor's; |r| <= ln(2)/2 leaves 5e-9 */
    p = FMA(p, r, 1.0f / 720);
    p = FMA(p, r, 1.0f / 120);
    p = FMA(p, r, 1.0f / 24);
    p = FMA(p, r, 1.0f / 6);
    p = FMA(p, r, 0.5f);
    p = FMA(p, r, 1.0f);
    p = FMA(p, r, 1.0f);
    return d < -87.0f ? 0.0f : p * as_float((as_bits(t) << 23) + 0x3f800000u);
}

/* Return log x of a normal number. */
static inline float log_(float x) {
    uint32_t up = as_bits(x) + (0x3f800000u - 0x3f3504f3u); /* so that the mantissa is in [sqrt 1/2, sqrt 2) */
    float n = (float)((int32_t)(up >> 23) - 127), m = as_float((up & 0x007fffffu) + 0x3f3504f3u);
    float f = (m - 1) / (m + 1), g = f * f; /* log m = 2 artanh f, |f| < 0.172 */
    float p = 1.0f / 9;
    p = FMA(p, g, 1.0f / 7);
    p = FMA(p, g, 1.0f / 5);
    p = FMA(p, g, 1.0f / 3);
    p = FMA(p * g, f, f);
    return FMA(n, 0.693147181f, 2 * p);
}

/* Compute phi and d phi/dx at the label, for x = -log p, as slopes.py does. */
static void at_label(const term *t, double x, double p, double *cost, double *slope) {
    const double a = t->a, b = t->b, u = 1 - p;
    double rest, power, sum, m;
    switch (t->function) {
    case CE:
        *cost = x, *slope = 1;
        return;
    case FL:
        rest = fmax(u, 1.17549435e-38);
        power = a == 0.5 ? sqrt(rest) : a == 2 ? rest * rest : pow(rest, a); /* pow takes as long as everything else */
        *cost = power * x;
        *slope = b != 0 ? power : power + a * power * x * p / rest;
        return;
    case MAE:
        *cost = 2 * u, *slope = 2 * p;
        return;
    case RCE:
        *cost = -a * u, *slope = -a * p;
        return;
    case GCE:
        *cost = -expm1(-a * x) / a, *slope = exp(-a * x);
        return;
    case TAYLOR_CE:
        *cost = 0, sum = 0;
        for (int i = (int)a; i > 0; i--) *cost = u * (*cost + 1.0 / i), sum = sum * u + 1;
        *slope = sum * p;
        return;
    case PHUBER_CE:
        m = log(a);
        *cost = x < m ? x : 1 + m - a * p;
        *slope = x < m ? 1 : a * p;
        return;
    case AGCE:
        *cost = -pow(a + 1, b) / b * expm1(b * log1p(-u / (a + 1)));
        *slope = pow(a + p, b - 1) * p;
        return;
    case AUL:
        *cost = pow(a - 1, b) / b * expm1(b * log1p(u / (a - 1)));
        *slope = pow(a - p, b - 1) * p;
        return;
    case AEL:
        *cost = exp(-p / a), *slope = *cost * p / a;
        return;
    case JS: /* log(m/p) = log1p(w (e^x - 1)), which overflows for large x */
        m = a + (1 - a) * p, sum = x < 60 ? log1p(a * expm1(x)) : x + log(a);
        *cost = p > a ? a * x - m * sum : -m * log(m) - (p > 0 ? (1 - a) * p * x : 0);
        *cost = u - *cost / ((1 - a) * log1p(-a));
        *slope = p > 0 ? p * (1 - sum / log1p(-a)) : 0;
        return;
    default: /* POLY1 */
        *cost = x + a * u, *slope = 1 + a * p;
        return;
    }
}

/* The results of the passes over the classes of a row, and of its terms. */
typedef struct {
    float max;
    double s, spread;      /* the sums of e and of d */
    float z_y, e_y;        /* of the label */
    double costs, slopes;  /* sums of the focal loss's over the classes */
    float cost_y, slope_y;
} sums;

typedef struct {
    double value, height, lift, factor, at_y; /* at_y: the gradient at the label, in double to lose fewer digits */
} outcome;

static outcome terms(const plan *plan, const sums *r, int64_t classes) {
    outcome o = {0};
    double rise = 0, fall = 0; /* fall: the part of H that normalized terms subtract */
    const double log_s = log(r->s), d_y = r->z_y - r->max, x = log_s - d_y;
    const double p = d_y < -80 ? exp(-x) : r->e_y / r->s;
    for (int i = 0; i < plan->count; i++) {
        double cost, slope;
        at_label(&plan->terms[i], x, p, &cost, &slope);
        o.value += plan->terms[i].weight * cost, rise += plan->terms[i].weight * slope;
    }
    if (plan->nce != 0) {
        double inverse = 1 / (classes * log_s - r->spread), share = x * inverse;
        o.value += plan->nce * share;
        rise += plan->nce * inverse, o.lift = plan->nce * share * inverse, fall = classes * o.lift;
    }
    if (plan->nfl != 0) {
        double inverse = 1 / r->costs, share = r->cost_y * inverse;
        o.value += plan->nfl * share;
        rise += plan->nfl * r->slope_y * inverse, o.factor = plan->nfl * share * inverse;
        fall += o.factor * r->slopes;
    }
    o.height = rise - fall;
    o.at_y = p * o.height + o.lift + o.factor * r->slope_y - rise;
    return o;
}

/* The focal loss of a class; cost and slope are multiplied by s^gamma, which cancels in a share of their sum. */
typedef struct {
    float gamma, free; /* free: 0 if the modulating factor is detached */
    enum { ROOT, SQUARE, ANY } power;
} focal;

static inline void focal_cost(const focal *f, float x, float e, float s, float *cost, float *slope) {
    /* s - e is s (1 - p); s is increased by its own rounding error, so that the difference is never 0 */
    const float above = s + s * 1.1920929e-7f, rest = above - e;
    const float power = f->power == ROOT     ? sqrtf(rest)
                        : f->power == SQUARE ? rest * rest
                                             : exp_(f->gamma * log_(rest / above));
    *cost = power * x;
    /* the cost of a class masked by -inf is infinite, and its e is 0, as is the limit of their product */
    *slope = FMA(f->free * (*cost < INFINITY ? *cost : 0), e / rest, power);
}

static focal focal_of(const plan *plan) {
    const float gamma = (float)plan->gamma;
    return (focal){gamma, plan->detach ? 0 : gamma, gamma == 0.5f ? ROOT : gamma == 2.0f ? SQUARE : ANY};
}

/* Compute value and gradient of a row of many classes; `scale` times the gradient is written to `e`. `slope` is a
 * buffer with one float per class. */
static double wide_row(const plan *plan, const float *restrict z, int64_t y, int64_t classes, float scale,
                       float *restrict e, float *restrict slope, int wanted) {
    float max = z[0];
    double s = 0, spread = 0, costs = 0, slopes = 0; /* over chunks in float: one long sum loses digits */
#pragma omp simd reduction(max : max)
    for (int64_t k = 0; k < classes; k++) max = z[k] > max ? z[k] : max;
    for (int64_t from = 0; from < classes; from += CHUNK) {
        const int64_t to = from + CHUNK < classes ? from + CHUNK : classes;
        float part = 0, differences = 0;
#pragma omp simd reduction(+ : part, differences)
        for (int64_t k = from; k < to; k++) {
            float d = z[k] - max, p = exp_(d);
            e[k] = p, part += p, differences += d;
        }
        s += part, spread += differences;
    }
    sums r = {max, s, spread, z[y], e[y], 0, 0, 0, 0};
    if (plan->nfl != 0) {
        const focal f = focal_of(plan);
        const float log_s = logf((float)s), sum = (float)s;
#define PASS(KIND)                                                                              \
    for (int64_t from = 0; from < classes; from += CHUNK) {                                     \
        const int64_t to = from + CHUNK < classes ? from + CHUNK : classes;                     \
        const focal g = {f.gamma, f.free, KIND};                                                \
        float part = 0, differences = 0;                                                        \
        _Pragma("omp simd reduction(+ : part, differences)") for (int64_t k = from; k < to; k++) { \
            float cost, h;                                                                      \
            focal_cost(&g, log_s - (z[k] - max), e[k], sum, &cost, &h);                         \
            slope[k] = h, part += cost, differences += h;                                       \
        }                                                                                       \
        costs += part, slopes += differences;                                                   \
    }
        if (f.power == ROOT) /* separate loops without branches */
            PASS(ROOT)
        else if (f.power == SQUARE)
            PASS(SQUARE)
        else
            PASS(ANY)
#undef PASS
        r.costs = costs, r.slopes = slopes;
        focal_cost(&f, log_s - (z[y] - max), e[y], sum, &r.cost_y, &r.slope_y);
    }
    const outcome o = terms(plan, &r, classes);
    if (!wanted) return o.value;
    const float height = (float)(scale * o.height / s), lift = (float)(scale * o.lift);
    const float factor = (float)(scale * o.factor);
    if (plan->nfl != 0) {
#pragma omp simd
        for (int64_t k = 0; k < classes; k++) e[k] = FMA(e[k], height, FMA(slope[k], factor, lift));
    } else {
#pragma omp simd
        for (int64_t k = 0; k < classes; k++) e[k] = FMA(e[k], height, lift);
    }
    e[y] = (float)(scale * o.at_y);
    return o.value;
}

/* The same for LANES rows of few classes side by side, because one such row is too short for the vector units. */
static void narrow_rows(const plan *plan, const float *const z[LANES], const int64_t y[LANES], int64_t classes,
                        const float scale[LANES], float *const gradient[LANES], double values[LANES],
                        int wanted) {
    float d[NARROW][LANES], e[NARROW][LANES], slope[NARROW][LANES];
    float max[LANES], s[LANES] = {0}, spread[LANES] = {0}, costs[LANES] = {0}, slopes[LANES] = {0};
    float height[LANES], lift[LANES], factor[LANES], at_y[LANES], log_s[LANES];
    for (int l = 0; l < LANES; l++)
        for (int64_t k = 0; k < classes; k++) d[k][l] = z[l][k];
    memcpy(max, d[0], sizeof max);
    for (int64_t k = 1; k < classes; k++)
#pragma omp simd
        for (int l = 0; l < LANES; l++) max[l] = d[k][l] > max[l] ? d[k][l] : max[l];
    for (int64_t k = 0; k < classes; k++)
#pragma omp simd
        for (int l = 0; l < LANES; l++) {
            d[k][l] -= max[l], e[k][l] = exp_(d[k][l]);
            s[l] += e[k][l], spread[l] += d[k][l];
        }
    if (plan->nfl != 0) {
        const focal f = focal_of(plan);
#pragma omp simd
        for (int l = 0; l < LANES; l++) log_s[l] = log_(s[l]);
#define PASS(KIND)                                                          \
    for (int64_t k = 0; k < classes; k++) {                                 \
        const focal g = {f.gamma, f.free, KIND};                            \
        _Pragma("omp simd") for (int l = 0; l < LANES; l++) {               \
            float cost;                                                     \
            focal_cost(&g, log_s[l] - d[k][l], e[k][l], s[l], &cost, &slope[k][l]); \
            costs[l] += cost, slopes[l] += slope[k][l];                     \
        }                                                                   \
    }
        if (f.power == ROOT) PASS(ROOT)
        else if (f.power == SQUARE) PASS(SQUARE)
        else PASS(ANY)
#undef PASS
    }
    for (int l = 0; l < LANES; l++) {
        sums r = {max[l], s[l], spread[l], z[l][y[l]], e[y[l]][l], costs[l], slopes[l], 0, 0};
        if (plan->nfl != 0) {
            const focal f = focal_of(plan);
            focal_cost(&f, log_s[l] - d[y[l]][l], e[y[l]][l], s[l], &r.cost_y, &r.slope_y);
        }
        const outcome o = terms(plan, &r, classes);
        values[l] = o.value;
        height[l] = (float)(scale[l] * o.height / s[l]), lift[l] = (float)(scale[l] * o.lift);
        factor[l] = (float)(scale[l] * o.factor), at_y[l] = (float)(scale[l] * o.at_y);
    }
    if (!wanted) return;
    for (int64_t k = 0; k < classes; k++)
#pragma omp simd
        for (int l = 0; l < LANES; l++) e[k][l] = FMA(e[k][l], height[l], lift[l]);
    if (plan->nfl != 0)
        for (int64_t k = 0; k < classes; k++)
#pragma omp simd
            for (int l = 0; l < LANES; l++) e[k][l] = FMA(slope[k][l], factor[l], e[k][l]);
    for (int l = 0; l < LANES; l++) {
        for (int64_t k = 0; k < classes; k++) gradient[l][k] = e[k][l];
        gradient[l][y[l]] = at_y[l];
    }
}

/* The rows of one thread. */
typedef struct {
    const work *work;
    int64_t from, to;
    int failed; /* out of memory */
} share;

static void *rows(void *given) {
    share *mine = given;
    const work *w = mine->work;
    const int64_t classes = w->classes;
    const int lanes = classes <= NARROW ? LANES : 1, half = w->kind != FLOAT32, rounds = w->kind == BFLOAT16;
    float *room = malloc((2 * lanes + 1) * sizeof(float) * classes), *slopes;
    if (room == NULL) return mine->failed = 1, NULL;
    slopes = room + 2 * lanes * classes;
    for (int64_t i = mine->from; i < mine->to;) {
        const float *z[LANES];
        float *gradient[LANES], scale[LANES];
        int64_t y[LANES], row[LANES];
        double each[LANES], values[LANES];
        int found = 0;
        for (; i < mine->to && found < lanes; i++) {
            const int64_t at = i * classes;
            w->values[i] = 0;
            if (w->ignores && w->label[i] == w->ignore) {
                if (w->gradient) memset((char *)w->gradient + at * (rounds ? 2 : 4), 0, classes * (rounds ? 2 : 4));
                continue;
            }
            float *wide = room + 2 * found * classes;
            z[found] = half || w->gradient == w->logits ? wide : (const float *)w->logits + at;
            if (half) widen((const uint16_t *)w->logits + at, wide, classes, w->kind);
            else if (z[found] == wide) memcpy(wide, (const float *)w->logits + at, classes * sizeof(float));
            gradient[found] = w->gradient == NULL || rounds ? wide + classes : (float *)w->gradient + at;
            y[found] = w->label[i], row[found] = i;
            each[found] = w->weight ? w->weight[y[found]] : 1, scale[found] = (float)(each[found] * w->scale);
            found++;
        }
        if (found == 0) break;
        for (int l = found; l < lanes; l++) /* lanes without a row repeat the first row */
            z[l] = z[0], y[l] = y[0], scale[l] = scale[0], gradient[l] = gradient[0];
        if (lanes > 1)
            narrow_rows(w->plan, z, y, classes, scale, gradient, values, w->gradient != NULL);
        else
            values[0] = wide_row(w->plan, z[0], y[0], classes, scale[0], gradient[0], slopes, w->gradient != NULL);
        for (int l = 0; l < found; l++) {
            w->values[row[l]] = each[l] * values[l];
            if (rounds && w->gradient) round_to_bfloat16(gradient[l], (uint16_t *)w->gradient + row[l] * classes, classes);
        }
    }
    free(room);
    return NULL;
}

int noisylabels_abi(void) { return ABI; }

/* Compute the loss of n rows of logits. Return 0; 1 if a label is out of range, and nothing is written; 2 if out of
 * memory.
 *
 * weight: per class, or NULL. Writes values and gradients; if `total` is not NULL, only the sum of the values, or
 * for `mean` their mean over the rows that are not ignored, and the gradients of that. */
int noisylabels_loss(const plan *plan, const void *logits, const int64_t *label, const float *weight,
                     float *values, void *gradient, float *total, int64_t n, int64_t classes, int32_t kind,
                     int32_t ignores, int64_t ignore, int32_t mean, int32_t threads) {
    double count = 0, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (ignores && label[i] == ignore) continue;
        if (label[i] < 0 || label[i] >= classes) return 1;
        count += weight ? weight[label[i]] : 1;
    }
    double *each = malloc(sizeof(double) * n);
    if (each == NULL) return 2;
    const work all = {plan,    logits, label, weight,  each, gradient, n,
                      classes, ignore, kind,  ignores, mean ? 1 / count : 1};
    share shares[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    int started[MAX_THREADS] = {0}, failed = 0;
    threads = threads > MAX_THREADS ? MAX_THREADS : threads;
    threads = threads > n ? (int32_t)n : threads;
    for (int t = 0; t < threads; t++) {
        shares[t] = (share){&all, n * t / threads, n * (t + 1) / threads, 0};
        /* this thread does the last part, and those for which no thread could be started */
        started[t] = t + 1 < threads && pthread_create(&ids[t], NULL, rows, &shares[t]) == 0;
        if (!started[t]) rows(&shares[t]);
    }
    for (int t = 0; t < threads; t++) {
        if (started[t]) pthread_join(ids[t], NULL);
        failed |= shares[t].failed;
    }
    for (int64_t i = 0; i < n && !failed; i++) {
        if (total) sum += each[i];
        else values[i] = (float)each[i];
    }
    if (total) *total = (float)(mean ? sum / count : sum);
    free(each);
    return failed ? 2 : 0;
}
