/* Constant-velocity Kalman filter of a box from frame to frame, as in DeepSORT (Wojke, Bewley and
 * Paulus 2017, arXiv 1703.07402) and ByteTrack: centre, width / height, height. */
#include "edgemtl.h"

/* Standard deviations in heights; the aspect's are numbers of their own. */
#define PLACE (1.0 / 20)
#define SPEED (1.0 / 160)
#define ASPECT 1e-2
#define ASPECT_SPEED 1e-5
#define ASPECT_SEEN 1e-1

static double variance(int axis, double deviation, double of_aspect)
{
    return axis == 2 ? of_aspect * of_aspect : deviation * deviation;
}

void em_frame_kalman_start(em_frame_kalman *f, const double measured[4])
{
    double h = measured[3];
    for (int k = 0; k < 4; ++k) {
        f->axis[k] = (em_axis){.x = measured[k]};
        f->axis[k].pxx = variance(k, 2 * PLACE * h, ASPECT);
        f->axis[k].pvv = variance(k, 10 * SPEED * h, ASPECT_SPEED);
    }
}

void em_frame_kalman_predict(em_frame_kalman *f)
{
    double h = f->axis[3].x;
    for (int k = 0; k < 4; ++k) {
        em_axis *a = &f->axis[k];
        a->x += a->v;
        a->pxx += 2 * a->pxv + a->pvv + variance(k, PLACE * h, ASPECT);
        a->pxv += a->pvv;
        a->pvv += variance(k, SPEED * h, ASPECT_SPEED);
    }
}

void em_frame_kalman_update(em_frame_kalman *f, const double measured[4])
{
    double h = f->axis[3].x;
    for (int k = 0; k < 4; ++k) {
        em_axis *a = &f->axis[k];
        double s = a->pxx + variance(k, PLACE * h, ASPECT_SEEN);
        /* s = 0: so small a height that its square vanishes, and nothing is left to learn */
        double gain_x = s > 0.0 ? a->pxx / s : 0.0, gain_v = s > 0.0 ? a->pxv / s : 0.0;
        double surprise = measured[k] - a->x;
        a->x += gain_x * surprise;
        a->v += gain_v * surprise;
        a->pvv -= gain_v * a->pxv;
        a->pxv *= 1.0 - gain_x;
        a->pxx *= 1.0 - gain_x;
    }
}

void em_frame_kalman_box(const em_frame_kalman *f, double box[4])
{
    double h = f->axis[3].x, w = f->axis[2].x * h;
    box[0] = f->axis[0].x - w / 2;
    box[1] = f->axis[1].x - h / 2;
    box[2] = f->axis[0].x + w / 2;
    box[3] = f->axis[1].x + h / 2;
}
