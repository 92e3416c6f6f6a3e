/* The fast path's block (fused.py) for float32 logits on a processor: value and gradient of a weighted sum of
 * losses, a row at a time, all passes over a row while it is in the nearest cache. native.py calls it.
 *
 * With m the largest logit, d = z - m, e = exp d, s the sum of e over the classes and x = -log p = log s - d,
 * the gradient of every sum of terms is
 *
 *     g_k = scale (e_k H/s + lift + f phi'(x_k) - [k = y] rise)
 *
 * (fused.py says how it comes about). At the label the terms are a few numbers a row, in double precision; over
 * the classes only normalized cross entropy (the sum of d) and one normalized focal loss (phi and phi' of each)
 * need a sum. Everything else goes through fused.py.
 *
 * A row depends on nothing but itself and sums go in a fixed order, so that the number of threads changes no bit.
 * Not to be compiled with -ffast-math: infinities and NaN go through as they do in torch.
 */

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A processor without it would have it done in software. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define FMA(a, b, c) fmaf(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

#ifndef ABI /* what tells this source from another: compile_native.py says */
#define ABI 0
#endif

enum { MAX_TERMS = 16, MAX_THREADS = 64, LANES = 16, NARROW = 32, CHUNK = 1024 };

/* As in native.py, which numbers them by this order. */
enum function { CE, FL, MAE, RCE, GCE, TAYLOR_CE, PHUBER_CE, AGCE, AUL, AEL, JS, POLY1 };

typedef struct {
    int32_t function;
    double weight; /* divided by the sum over the labels where that is constant */
    double a, b;   /* the function's parameters, in the order of its signature in pointwise.py */
} term;

typedef struct {
    int32_t count;
    term terms[MAX_TERMS]; /* read at the label */
    double nce;            /* the weight of normalized cross entropy; 0: none */
    double nfl;            /* of the normalized focal loss; 0: none */
    double gamma;          /* its parameters */
    int32_t detach;
} plan;

/* Of the logits; the gradient is of the same, but float16's is float32: a gradient scaler multiplies it before it is
 * rounded. */
enum kind { FLOAT32, BFLOAT16, FLOAT16 };

/* What a call works on. A row whose label is to be ignored has value and gradient 0. */
typedef struct {
    const plan *plan;
    const void *logits;   /* rows x classes */
    const int64_t *label; /* rows */
    const float *weight;  /* classes; or NULL */
    double *values;       /* rows, class weights applied */
    void *gradient;       /* rows x classes, or the logits, which it then takes the place of; or NULL */
    int64_t rows, classes, ignore;
    int32_t kind, ignores; /* whether `ignore` means anything */
    double scale;          /* of gradients, beside the class weights */
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

/* A row of half precision to float32, and a row of float32 to bfloat16, to the nearest and of two to the even. */
static void widen(const uint16_t *restrict from, float *restrict to, int64_t n, int kind) {
    if (kind == BFLOAT16) {
#pragma omp simd
        for (int64_t k = 0; k < n; k++) to[k] = as_float((uint32_t)from[k] << 16);
    } else {
#pragma omp simd
        for (int64_t k = 0; k < n; k++) {
            uint32_t h = from[k], magnitude = (h & 0x7fffu) << 13;
            uint32_t finite = as_bits(as_float(magnitude) * 0x1p112f); /* of the other bias, subnormal or not */
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

/* e^d for d <= 0, to the last bit or two; 0 below the smallest normal number. */
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

/* log x of a normal number. */
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

/* phi and d phi/dx at the label, for x = -log p; slopes.py has the same. */
static void at_label(const term *t, double x, double p, double *cost, double *slope) {
    const double a = t->a, b = t->b, u = 1 - p;
    double rest, power, sum, m;
    switch (t->function) {
    case CE:
        *cost = x, *slope = 1;
        return;
    case FL:
        rest = fmax(u, 1.17549435e-38);
        power = a == 0.5 ? sqrt(rest) : a == 2 ? rest * rest : pow(rest, a); /* pow takes as long as all else */
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
    case JS: /* log(m/p) = log1p(w (e^x - 1)), which overflows where x is large */
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

/* What the passes over the classes find of a row, and what the terms come to. */
typedef struct {
    float max;
    double s, spread;      /* the sums of e and of d */
    float z_y, e_y;        /* of the label */
    double costs, slopes;  /* sums of the focal loss's over the classes */
    float cost_y, slope_y;
} sums;

typedef struct {
    double value, height, lift, factor, at_y; /* the last is the gradient there, less of a difference in double */
} outcome;

static outcome terms(const plan *plan, const sums *r, int64_t classes) {
    outcome o = {0};
    double rise = 0, fall = 0; /* the latter what normalized terms take off H */
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

/* The focal loss under a class, cost and slope times s^gamma, which a share of their sum does not see. */
typedef struct {
    float gamma, free; /* the latter 0 if the modulator is out of the graph */
    enum { ROOT, SQUARE, ANY } power;
} focal;

static inline void focal_cost(const focal *f, float x, float e, float s, float *cost, float *slope) {
    /* s - e is s (1 - p); of a larger s, so that it is never 0, by as much as s is uncertain anyway */
    const float above = s + s * 1.1920929e-7f, rest = above - e;
    const float power = f->power == ROOT     ? sqrtf(rest)
                        : f->power == SQUARE ? rest * rest
                                             : exp_(f->gamma * log_(rest / above));
    *cost = power * x;
    *slope = FMA(f->free * *cost, e / rest, power);
}

static focal focal_of(const plan *plan) {
    const float gamma = (float)plan->gamma;
    return (focal){gamma, plan->detach ? 0 : gamma, gamma == 0.5f ? ROOT : gamma == 2.0f ? SQUARE : ANY};
}

/* Value and gradient of a row of many classes; the gradient, of `scale` times it, goes to `e`. `slope` is room for
 * as many floats as classes. */
static double wide_row(const plan *plan, const float *restrict z, int64_t y, int64_t classes, float scale,
                       float *restrict e, float *restrict slope, int wanted) {
    float max = z[0];
    double s = 0, spread = 0, costs = 0, slopes = 0; /* of chunks in float: one long sum would lose too much */
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
        if (f.power == ROOT) /* apart, so that each is one loop without a branch */
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

/* The same of LANES rows of few classes, side by side: there a row is too short for the processor's vectors. */
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

/* Some rows of the work, for a thread. */
typedef struct {
    const work *work;
    int64_t from, to;
    int failed; /* for want of memory */
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
        for (int l = found; l < lanes; l++) /* lanes without a row do the first one's again */
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

/* The loss of n rows of logits; returns 0; 1 if a label is out of range, and nothing is written; 2 for want of memory.
 *
 * weight: of the classes, or NULL. Written are the values, the gradients and, where `total` is not NULL, the sum of
 * the values alone, or under `mean` their mean over the rows that count, of which the gradients then are. */
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
        /* the last part is this thread's, and so is what no thread could be had for */
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
