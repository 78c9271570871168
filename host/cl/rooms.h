// The rooms above the runtime that keep something in a context, in `kept` of struct heed__cl.
#ifndef HEED__CL_ROOMS_H
#define HEED__CL_ROOMS_H

enum heed__cl_room { HEED__CL_ROOM_TUNING, HEED__CL_ROOM_GEMM };

#endif
