/* launch: start a kernel on the device's stream and turn a failed start into a status.
 *
 * The only place with launch syntax, so that tests/emu can run the same kernels on the host. */
#ifndef KERNELS_LAUNCH_CUH
#define KERNELS_LAUNCH_CUH
#include <type_traits>
#include "kernels/cuda_device.cuh"

/* An empty grid is a success: ops accept T == 0. The arguments convert to the kernel's parameter types. */
template <typename... P>
static int cuda_launch(const struct op_ctx *cx, const char *op, void (*kernel)(P...), dim3 grid, unsigned block,
                       std::common_type_t<P>... args)
{
    if (!grid.x || !grid.y || !grid.z) return DEV_OK;
    kernel<<<grid, block, 0, cuda_stream(cx->dev)>>>(args...);
    return cuda_check(cx->dev, op, cudaPeekAtLastError());
}
#endif
