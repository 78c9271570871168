#include "train/warmup.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/child.h"

// What the child needs to know about the training to come.
typedef struct plan {
  classifier_shape shape;
  int64_t batch;
} plan;

// ---------------------------------------------------------------- the child

// Makes a linear layer's tensors, with undefined values.
typedef struct layer {
  heed_tensor *x, *weight, *bias, *y;
} layer;

static heed_status layer_create(heed_context *ctx, const plan *p, size_t index, layer *l) {
  const int64_t in = p->shape.mlp.sizes[index], out = p->shape.mlp.sizes[index + 1];
  const struct {
    heed_tensor **tensor;
    int64_t rows, cols;
  } all[] = {{&l->x, p->batch, in}, {&l->weight, out, in}, {&l->bias, out, 0}, {&l->y, p->batch, out}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    const int64_t dims[] = {all[i].rows, all[i].cols};
    const heed_status status = heed_tensor_create(ctx, p->shape.mlp.dtype, all[i].cols ? 2 : 1, dims, all[i].tensor);
    if (status != HEED_OK) return status;
  }
  return HEED_OK;
}

static void layer_destroy(layer *l) {
  heed_tensor *const all[] = {l->x, l->weight, l->bias, l->y};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) heed_tensor_destroy(all[i]);
}

// The gradients that training needs. The first layer needs no dx, and the self-test begins with the kernel of its dweight.
static heed_status backward(const layer *l, bool first, bool last) {
  heed_tensor *dx = NULL, *dweight = NULL;
  heed_status status = HEED_OK;
  const int64_t x[] = {heed_tensor_dim(l->x, 0), heed_tensor_dim(l->x, 1)};
  const int64_t w[] = {heed_tensor_dim(l->weight, 0), heed_tensor_dim(l->weight, 1)};
  heed_context *ctx = heed_tensor_context(l->x);
  if (!first) status = heed_tensor_create(ctx, heed_tensor_dtype(l->x), 2, x, &dx);
  if (status == HEED_OK && (last || !first)) status = heed_tensor_create(ctx, heed_tensor_dtype(l->x), 2, w, &dweight);
  if (status == HEED_OK)
    status = first ? heed_linear_bwd(l->x, l->weight, l->y, dx, dweight, l->bias, false)
                   : heed_relu_linear_bwd(l->x, l->weight, l->y, dx, dweight, l->bias, false);
  heed_tensor_destroy(dx);
  heed_tensor_destroy(dweight);
  return status;
}

// One layer's calls, the backward before the forward, because the other process begins at the other end.
static heed_status work_on_layer(heed_context *ctx, const plan *p, size_t index) {
  const bool last = index + 2 == p->shape.mlp.count;
  layer l = {0};
  heed_status status = layer_create(ctx, p, index, &l);
  if (status == HEED_OK) status = backward(&l, index == 0, last);
  if (status == HEED_OK)
    status = last ? heed_linear_fwd(l.x, l.weight, l.bias, l.y) : heed_linear_relu_fwd(l.x, l.weight, l.bias, l.y);
  layer_destroy(&l);
  return status;
}

static heed_status work_on_layers(heed_context *ctx, const plan *p) {
  heed_status status = HEED_OK;
  for (size_t i = p->shape.mlp.count - 1; status == HEED_OK && i-- > 0;) status = work_on_layer(ctx, p, i);
  return status;
}

// A vit's calls depend on one another: forward, then backward.
static heed_status work_on_vit(heed_context *ctx, const plan *p) {
  const heed_vit_config *c = &p->shape.vit;
  heed_vit *vit = NULL;
  heed_tensor *images = NULL, *logits = NULL;
  heed_status status = heed_vit_create(ctx, c, 0, &vit);
  if (status == HEED_OK)
    status = heed_tensor_create(ctx, c->dtype, 2, (const int64_t[]){p->batch, c->rows * c->cols}, &images);
  if (status == HEED_OK)
    status = heed_tensor_create(ctx, c->dtype, 2, (const int64_t[]){p->batch, c->classes}, &logits);
  if (status == HEED_OK) status = heed_vit_fwd(vit, images, true, 0, logits);
  if (status == HEED_OK) status = heed_vit_bwd(vit, logits, false);
  heed_tensor_destroy(images);
  heed_tensor_destroy(logits);
  heed_vit_destroy(vit);
  return status;
}

static int work(const tool_args *given, const plan *p) {
  tool_args args = *given;
  args.diagnoses = true;  // the other process tests the device
  heed_context *ctx = NULL;
  if (tool_open(&args, false, &ctx) != TOOL_DONE) return 1;
  heed_status status = p->shape.arch == CLASSIFIER_VIT ? work_on_vit(ctx, p) : work_on_layers(ctx, p);
  if (status == HEED_OK) status = heed_sync(ctx);
  heed_context_destroy(ctx);
  return status == HEED_OK ? 0 : 1;
}

static void wait_and_work(const tool_args *args, int from) {
  plan p;
  if (!child_read(from, &p, sizeof p)) _exit(0);
  child_silence();
  _exit(work(args, &p));
}

// ---------------------------------------------------------------- the parent

void train_warmup_start(const tool_args *args, train_warmup *w) {
  *w = (train_warmup){0};
  int ends[2];
  const char *chosen = getenv("HEED_SELF_TEST"), *cache = getenv("HEED_CACHE");
  const char *device = args->device ? args->device : getenv("HEED_DEVICE");
  if (cache && (strcasecmp(cache, "off") == 0 || strcmp(cache, "0") == 0)) return;  // every device is always new
  if ((chosen && *chosen) || (device && strcasecmp(device, "host") == 0) || sysconf(_SC_NPROCESSORS_ONLN) < 2) return;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return;
  const pid_t pid = fork();
  if (pid == 0) {
    close(ends[1]);
    wait_and_work(args, ends[0]);
  }
  close(ends[0]);
  if (pid < 0)
    close(ends[1]);
  else
    *w = (train_warmup){.pid = pid, .to = ends[1]};
}

static bool is_new_cpu(const char *spec) {
  heed_device_list *list = NULL;
  size_t index;
  if (heed_device_list_create(&list) != HEED_OK) return false;
  bool found = heed_device_list_find(list, spec, &index) == HEED_OK;
  if (found) {
    const heed_device_info *device = heed_device_list_get(list, index);
    found = device->type == HEED_DEVICE_CPU && device->self_test == HEED_SELF_TEST_UNTESTED;
  }
  heed_device_list_destroy(list);
  return found;
}

void train_warmup_go(train_warmup *w, const tool_args *args, const classifier_shape *shape, int64_t batch) {
  if (!w->pid) return;
  const plan p = {.shape = *shape, .batch = batch};
  if (!is_new_cpu(args->device) || send(w->to, &p, sizeof p, MSG_NOSIGNAL) != (ssize_t)sizeof p) train_warmup_stop(w);
}

void train_warmup_stop(train_warmup *w) {
  if (!w->pid) return;
  close(w->to);
  if (waitpid(w->pid, NULL, WNOHANG) == 0) {  // otherwise it has ended, and another process may have its number
    kill(w->pid, SIGKILL);
    (void)child_wait(w->pid, NULL);
  }
  w->pid = 0;
}
