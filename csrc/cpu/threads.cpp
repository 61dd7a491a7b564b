// What the tests ask of how work is shared: any number of threads gives the same bits, also where so many do not pay.
#include "threads.h"

extern "C" __attribute__((visibility("default"))) void spikeops_cpu_share_all_work(int on) { spikeops::shares_all_work = on != 0; }
