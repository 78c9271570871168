// heed inside a program that has its own OpenCL: own context, own queue, own buffer, own kernel. A kernel of the program writes
// into the buffer, heed's softmax reads it where it lies, and nothing is copied or waited for in between.
//
//   cc own_queue.c $(pkg-config --cflags --libs heed) -o own_queue && ./own_queue
#include <heed/opencl.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 4, COLUMNS = 1000 };

// x[r][c] = c mod (r + 2)
static const char *const source =
    "kernel void fill(global float *x, int columns) {\n"
    "  const int i = get_global_id(0);\n"
    "  x[i] = (float)(i % columns % (i / columns + 2));\n"
    "}\n";

// OpenCL's calls return an error code, or take the address of one.
static void check(cl_int error, const char *what) {
  if (error == CL_SUCCESS) return;
  fprintf(stderr, "%s failed with OpenCL error %d\n", what, error);
  exit(EXIT_FAILURE);
}

#define TRY(call)                                                            \
  do {                                                                       \
    if ((call) != HEED_OK) {                                                 \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, heed_last_error()); \
      exit(EXIT_FAILURE);                                                    \
    }                                                                        \
  } while (0)

int main(void) {
  // ---- what the program has already
  cl_int error = CL_SUCCESS;
  cl_platform_id platform = NULL;
  cl_device_id device = NULL;
  check(clGetPlatformIDs(1, &platform, NULL), "clGetPlatformIDs");
  check(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL), "clGetDeviceIDs");
  cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
  check(error, "clCreateContext");
  cl_command_queue queue = clCreateCommandQueue(context, device, 0, &error);  // in-order, as heed needs it
  check(error, "clCreateCommandQueue");
  cl_mem buffer = clCreateBuffer(context, CL_MEM_READ_WRITE, ROWS * COLUMNS * sizeof(float), NULL, &error);
  check(error, "clCreateBuffer");
  cl_program program = clCreateProgramWithSource(context, 1, (const char **)&source, NULL, &error);
  check(error, "clCreateProgramWithSource");
  check(clBuildProgram(program, 1, &device, "", NULL, NULL), "clBuildProgram");
  cl_kernel kernel = clCreateKernel(program, "fill", &error);
  check(error, "clCreateKernel");

  // ---- heed on the same objects: it retains what it is given, and queues its work on this queue
  heed_context *ctx = NULL;
  heed_tensor *x = NULL, *y = NULL;
  TRY(heed_open_opencl(context, device, queue, NULL, &ctx));
  TRY(heed_opencl_tensor(ctx, buffer, HEED_F32, 2, (int64_t[]){ROWS, COLUMNS}, &x));  // the buffer itself: no copy
  TRY(heed_tensor_create(ctx, HEED_F32, 2, (int64_t[]){ROWS, COLUMNS}, &y));

  // ---- their work, in turn: the queue keeps the order
  const cl_int columns = COLUMNS;
  const size_t elements = ROWS * COLUMNS;
  check(clSetKernelArg(kernel, 0, sizeof buffer, &buffer), "clSetKernelArg");
  check(clSetKernelArg(kernel, 1, sizeof columns, &columns), "clSetKernelArg");
  check(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &elements, NULL, 0, NULL, NULL), "clEnqueueNDRangeKernel");
  TRY(heed_softmax_fwd(x, -1, y));

  // ---- and the other way round: the program reads the buffer of a tensor that heed made
  static float weights[ROWS][COLUMNS];
  cl_mem result = NULL;
  int64_t offset = 0;  // elements from the buffer's start: heed may put several tensors into one buffer
  TRY(heed_opencl_buffer(y, &result, &offset));
  check(clEnqueueReadBuffer(queue, result, CL_TRUE, (size_t)offset * sizeof(float), sizeof weights, weights, 0, NULL,
                            NULL),
        "clEnqueueReadBuffer");
  TRY(heed_sync(ctx));  // tells of errors that queued work has met
  for (int r = 0; r < ROWS; r++) {
    double sum = 0;
    for (int c = 0; c < COLUMNS; c++) sum += (double)weights[r][c];
    printf("row %d: first %.6f, second %.6f, sum %.6f\n", r, (double)weights[r][0], (double)weights[r][1], sum);
  }

  heed_tensor_destroy(y);
  heed_tensor_destroy(x);
  heed_context_destroy(ctx);
  clReleaseKernel(kernel);
  clReleaseProgram(program);
  clReleaseMemObject(buffer);
  clReleaseCommandQueue(queue);
  clReleaseContext(context);
  return 0;
}
