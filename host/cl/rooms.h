// Which rooms above the runtime keep something in a context, in struct heed__cl's `kept`.
#ifndef HEED__CL_ROOMS_H
#define HEED__CL_ROOMS_H

enum heed__cl_room { HEED__CL_ROOM_TUNING, HEED__CL_ROOM_GEMM };

#endif
