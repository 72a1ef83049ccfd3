/* Constant-velocity Kalman filter of a box, in continuous time. */
#include "edgemtl.h"

#include <math.h>

static double size_of(const em_kalman *f)
{
    double w = fmax(f->axis[2].x, 1.0), h = fmax(f->axis[3].x, 1.0);
    return sqrt(w * h);
}

static double square(double v) { return v * v; }

double em_kalman_measured(const em_kalman *f, int axis, const em_kalman_noise *noise,
                          double trust)
{
    double sd = axis < 2 ? noise->position : axis == 2 ? noise->width : noise->height;
    return square(sd * trust * size_of(f));
}

void em_kalman_start(em_kalman *f, const double measured[4], const em_kalman_noise *noise,
                     double trust)
{
    for (int k = 0; k < 4; ++k) {
        f->axis[k] = (em_axis){.x = measured[k]};
    }
    double size = size_of(f);
    for (int k = 0; k < 4; ++k) {
        double share = k < 2 ? 1.0 : noise->shape;
        f->axis[k].pxx = em_kalman_measured(f, k, noise, trust);
        f->axis[k].pvv = square(noise->initial_speed * share * size);
    }
}

void em_kalman_predict(em_kalman *f, double dt, const em_kalman_noise *noise)
{
    double size = size_of(f);
    for (int k = 0; k < 4; ++k) {
        em_axis *a = &f->axis[k];
        double q = square(noise->acceleration * (k < 2 ? 1.0 : noise->shape) * size);
        a->x += a->v * dt;
        /* Without noise, rounding alone could leave a variance a little below zero. */
        a->pxx = fmax(a->pxx + dt * (2.0 * a->pxv + dt * a->pvv) + q * dt * dt * dt / 3.0, 0.0);
        a->pxv += dt * a->pvv + q * dt * dt / 2.0;
        a->pvv += q * dt;
    }
    /* A box keeps a positive size however long nobody has seen it. */
    f->axis[2].x = fmax(f->axis[2].x, 1.0);
    f->axis[3].x = fmax(f->axis[3].x, 1.0);
}

void em_kalman_update(em_kalman *f, const double measured[4], const em_kalman_noise *noise,
                      double trust)
{
    double r[4];
    for (int k = 0; k < 4; ++k) {
        r[k] = em_kalman_measured(f, k, noise, trust);
    }
    for (int k = 0; k < 4; ++k) {
        em_axis *a = &f->axis[k];
        double s = a->pxx + r[k];
        /* s = 0: the state is known exactly already, and no measurement changes it. */
        double gain_x = s > 0.0 ? a->pxx / s : 0.0, gain_v = s > 0.0 ? a->pxv / s : 0.0;
        double surprise = measured[k] - a->x;
        a->x += gain_x * surprise;
        a->v += gain_v * surprise;
        a->pvv = fmax(a->pvv - gain_v * a->pxv, 0.0);
        a->pxv *= 1.0 - gain_x;
        a->pxx *= 1.0 - gain_x;
    }
}

void em_kalman_box(const em_kalman *f, double box[4])
{
    double w = fmax(f->axis[2].x, 1.0) / 2.0, h = fmax(f->axis[3].x, 1.0) / 2.0;
    box[0] = f->axis[0].x - w;
    box[1] = f->axis[1].x - h;
    box[2] = f->axis[0].x + w;
    box[3] = f->axis[1].x + h;
}
