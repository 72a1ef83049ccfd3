/* Elementary functions of plain additions and multiplications, and the median. */
#include "tracker.h"

#include <math.h>

double em_exp_minus(double x)
{
    if (x > 700.0) {
        return 0.0;
    }
    double y = x / 1024.0; /* (series of degree 5)^1024 */
    double p = 1.0 - y * (1.0 - y / 2.0 * (1.0 - y / 3.0 * (1.0 - y / 4.0 * (1.0 - y / 5.0))));
    for (int i = 0; i < 10; ++i) {
        p *= p;
    }
    return p;
}

double em_log(double x)
{
    int exponent;
    double m = frexp(x, &exponent); /* 0.5 <= m < 1, exact */
    if (m < 0.70710678118654752) {
        m *= 2.0;
        --exponent;
    }
    double s = (m - 1.0) / (m + 1.0), q = s * s; /* log m = 2 atanh s, |s| < 0.172 */
    double series = 1.0 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q / 11))));
    return 2.0 * s * series + exponent * 0.69314718055994531;
}

/* Put the k-th smallest at k, none larger before it (Hoare 1961, algorithm 65). */
static double select_kth(double *v, int32_t n, int32_t k)
{
    int32_t low = 0, high = n - 1;
    while (low < high) {
        double pivot = v[low + (high - low) / 2];
        int32_t i = low, j = high;
        while (i <= j) {
            while (v[i] < pivot) {
                ++i;
            }
            while (v[j] > pivot) {
                --j;
            }
            if (i <= j) {
                double swap = v[i];
                v[i++] = v[j];
                v[j--] = swap;
            }
        }
        if (k <= j) {
            high = j;
        } else if (k >= i) {
            low = i;
        } else {
            break;
        }
    }
    return v[k];
}

double em_median(double *v, int32_t n)
{
    double upper = select_kth(v, n, n / 2);
    if (n % 2) {
        return upper;
    }
    double lower = v[0];
    for (int32_t i = 1; i < n / 2; ++i) {
        lower = v[i] > lower ? v[i] : lower;
    }
    return (lower + upper) / 2.0;
}
