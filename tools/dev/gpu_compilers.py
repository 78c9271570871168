"""GPU vendors' compilers, and what their output says of a kernel. Needs no GPU. Used by check-gpus and fma-share.

NVIDIA: clang, libclc, libdevice, ptxas and cuobjdump; AMD: clang, ROCm's device libraries and ROCm's LLVM, librocmllvm.so; Intel: ocloc.
PATH says where compilers are; HEED_GPU_LIBRARIES, a folder, where the vendors' libraries are if not below /usr/lib, /opt/rocm or beside
ptxas.
"""
import functools
import glob
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
# target: vendor, the folder of gpu_programs. For AMD also registers of a SIMD's lane, their granule, most waves, ISA, items of a wave, and
# the processor that clang takes it for.
TARGETS = {'sm_75': ('nvidia', 'nvidia'), 'sm_80': ('nvidia', 'nvidia-tf32'), 'sm_86': ('nvidia', 'nvidia-tensor'),
           'sm_90': ('nvidia', 'nvidia-tensor'), 'sm_100': ('nvidia', 'nvidia-tensor'),
           'gfx906': ('amd', 'amd', 256, 4, 10, 9006, 64, 'gfx906'), 'gfx90a': ('amd', 'amd', 512, 8, 8, 9010, 64, 'gfx90a'),
           'gfx1030': ('amd', 'amd', 1024, 16, 16, 10300, 32, 'gfx1030'), 'gfx1100': ('amd', 'amd', 1536, 24, 16, 11000, 32, 'gfx1100'),
           'gfx1200': ('amd', 'amd', 1536, 24, 16, 12000, 32, 'gfx1100'),
           'skl': ('intel', 'intel'), 'tgllp': ('intel', 'intel'), 'acm-g10': ('intel', 'intel'), 'pvc': ('intel', 'intel-max')}


class Failure(Exception):
    pass


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace', **more)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if 'error' in line.lower()] or done.stdout.splitlines()[-1:]
        raise Failure('%s: %s' % (os.path.basename(command[0]), lines[0] if lines else 'status %d' % done.returncode))
    return done.stdout


@functools.lru_cache(None)
def library(name):
    """The first file of this name where libraries of device code lie, or None."""
    own, ptxas = os.environ.get('HEED_GPU_LIBRARIES'), shutil.which('ptxas')
    for place, _, files in os.walk(own) if own else ():
        if name in files:
            return os.path.join(place, name)
    places = ['/usr/lib', '/opt/rocm', '/usr/local/cuda']
    if ptxas:
        places.append(os.path.dirname(os.path.dirname(os.path.realpath(ptxas))))
    for place in places:
        for depth in ('', '*/', '*/*/', '*/*/*/', '*/*/*/*/'):
            found = sorted(glob.glob(os.path.join(place, depth + name)))
            if found:
                return found[0]
    return None


def clang():
    names = ['clang'] + ['clang-%d' % version for version in range(20, 15, -1)]
    return next(filter(None, map(shutil.which, names)), None)


def beside(tool, name):
    """A tool of the same LLVM as clang."""
    path = os.path.join(os.path.dirname(os.path.realpath(tool)), name)
    return path if os.path.exists(path) else name


def missing(vendor):
    """What a vendor's targets lack, or None."""
    needs = {'nvidia': [clang(), shutil.which('ptxas'), shutil.which('cuobjdump'), library('nvptx64--nvidiacl.bc'),
                        library('libdevice.10.bc')],
             'amd': [clang(), library('ocml.bc'), library('librocmllvm.so')], 'intel': [shutil.which('ocloc')]}
    names = {'nvidia': ['clang', 'ptxas', 'cuobjdump', "libclc's nvptx64--nvidiacl.bc", 'libdevice.10.bc'],
             'amd': ['clang', "ROCm's device libraries (ocml.bc)", "ROCm's LLVM (librocmllvm.so)"], 'intel': ['ocloc']}
    lacking = [name for name, found in zip(names[vendor], needs[vendor]) if not found]
    return ', '.join(lacking) or None


# ---- the block of an assembly with the most multiply-adds: their share in it bounds the share of the peak that the kernel can reach

def densest(lines, is_border, weight):
    best, multiplications, instructions = (0, 1), 0, 0
    for line in list(lines) + [None]:
        if line is None or is_border(line):
            best = max(best, (multiplications, instructions))
            multiplications = instructions = 0
        if line is not None:
            count = weight(line)
            if count is not None:
                multiplications, instructions = multiplications + count, instructions + 1
    return round(100 * best[0] / max(best[1], 1))


# ---- compilers: each returns {kernel: (registers, spilled bytes, what fits, as text, share of multiply-adds)}, and leaves what it made in `folder`

def front(target, source, options, arguments, out):
    run([clang(), '-x', 'cl', '-cl-std=CL1.2', '-Xclang', '-finclude-default-header', '-w', '-O3'] + target +
        [o for o in options.split() if o.startswith('-D')] + arguments + ['-o', out, source])


# One instruction, which libclc has no name for.
NATIVE_EXP2 = '''float nvidias_native_exp2(float x) {
  float y;
  __asm__("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#define native_exp2(x) nvidias_native_exp2(x)
'''


def nvidia(target, spec, source, options, folder):
    out = lambda end: os.path.join(folder, 'k.' + end)
    with open(source) as file:
        text = file.read()
    # The driver's compiler has exp2, log and tanh of libdevice; libclc's are others.
    functions = ('exp2', 'log', 'tanh')
    with open(out('cl'), 'w') as file:
        for name in functions:
            file.write('float __nv_%sf(float);\nfloat nvidias_%s(float x) { return __nv_%sf(x); }\n' % (name, name, name))
        for name in functions:
            file.write('#define %s(x) nvidias_%s(x)\n' % (name, name))
        file.write(NATIVE_EXP2)
        file.write('#line 1\n' + text)
    cpu = 'sm_75' if target == 'sm_75' else 'sm_80'
    link = []
    for bitcode in ('nvptx64--nvidiacl.bc', 'libdevice.10.bc'):
        link += ['-Xclang', '-mlink-builtin-bitcode', '-Xclang', library(bitcode)]
    front(['-target', 'nvptx64--nvidiacl'], out('cl'), options,
          ['-Xclang', '-cl-ext=-all,+cl_khr_fp64,+cl_khr_byte_addressable_store,+cl_khr_local_int32_base_atomics', '-Xclang',
           '-target-feature', '-Xclang', '+ptx72', '-Xclang', '-target-cpu', '-Xclang', cpu, '-mllvm',
           '-inline-threshold=1000000', '-mllvm', '-locally-hot-callsite-threshold=1000000'] + link +
          ['-S', '-emit-llvm'], out('ll'))
    with open(out('ll')) as file:
        code = file.read()
    kernels = re.findall(r'@(\w+), !"kernel"', code)
    run([beside(clang(), 'opt'), '-S', '-passes=internalize,globaldce',
         '-internalize-public-api-list=' + ','.join(kernels), out('ll'), '-o', out('kernels.ll')])
    run([beside(clang(), 'llc'), '-O3', '-march=nvptx64', '-mcpu=' + cpu, '-mattr=+ptx72', out('kernels.ll'), '-o',
         out('ptx')])
    # LLVM drops the size of work-groups, by which ptxas knows how many registers there are for an item.
    sizes = {}
    for kernel, number in re.findall(r'define[^@\n]*@(\w+)\([^\n]*!reqd_work_group_size !(\d+)', code):
        items = re.search(r'^!%s = !\{i32 (\d+), i32 (\d+), i32 (\d+)\}' % number, code, re.M)
        sizes[kernel] = int(items.group(1)) * int(items.group(2)) * int(items.group(3))
    with open(out('ptx')) as file:
        ptx = file.read()
    for kernel, items in sizes.items():
        ptx = re.sub(r'(\.entry %s\([^)]*\))' % kernel, r'\1 .reqntid %d, 1, 1' % items, ptx)
    with open(out('ptx'), 'w') as file:
        file.write(ptx)
    told = run(['ptxas', '-v', '-O3', '-arch=' + target, out('ptx'), '-o', out('cubin')])
    shares = {}
    code = run(['cuobjdump', '-sass', out('cubin')])
    with open(out('sass'), 'w') as file:
        file.write(code)
    for part in re.split(r'\n\s*Function : ', code)[1:]:
        lines = re.findall(r'/\*[0-9a-f]{4,}\*/\s+((?:@!?U?P\w+\s+)?[A-Z][\w.]*[^;]*);', part)
        shares[part.split()[0]] = densest(lines, lambda line: re.search(r'\b(BRA|EXIT|BSYNC|BAR)\b', line),
                                          lambda line: 1 if 'FFMA' in line else 64 if 'HMMA' in line else
                                          None if 'NOP' in line else 0)
    found = {}
    for part in re.split(r"Compiling entry function '", told)[1:]:
        kernel = part.split("'")[0]
        spilled = max([int(n) for n in re.findall(r'(\d+) bytes spill', part)] or [0])
        registers = int(re.search(r'Used (\d+) registers', part).group(1))
        memory = int((re.search(r'(\d+) bytes smem', part) or [0, 0])[1])
        warps = -(-sizes.get(kernel, 64) // 32)
        groups = 65536 // (-(-registers // 8) * 8 * 32 * warps)
        groups = min(groups, (64 if target == 'sm_75' else 100 if target == 'sm_86' else 227) * 1024 // max(memory, 1))
        found[kernel] = (registers, spilled, '%d' % min(groups, 16), shares.get(kernel, 0))
    return found


# What the driver says to ROCm's device libraries of a device and of plain options.
def amd_constants(isa, wave):
    switches = {'finite_only_opt': 0, 'unsafe_math_opt': 0, 'daz_opt': 0, 'correctly_rounded_sqrt32': 0, 'wavefrontsize64': wave == 64}
    numbers = {'ISA_version': isa, 'ABI_version': 400}
    return ''.join('const __constant %s __oclc_%s = %d;\n' % (kind, name, value) for kind, values in (('uchar', switches), ('uint', numbers))
                   for name, value in values.items())


def amd(target, spec, source, options, folder):
    code, ll, out = (os.path.join(folder, 'k.' + end) for end in ('cl', 'll', 's'))
    with open(source) as file:
        text = file.read()
    with open(code, 'w') as file:
        file.write(amd_constants(spec[5], spec[6]) + '#line 1\n' + text)
    link = ['-nogpulib', '-mcode-object-version=4', '-Xclang', '-disable-llvm-passes']
    for name in ('opencl.bc', 'ocml.bc', 'ockl.bc'):
        link += ['-Xclang', '-mlink-builtin-bitcode', '-Xclang', library(name)]
    front(['-target', 'amdgcn-amd-amdhsa', '-mcpu=' + spec[7]], code, options, link + ['-S', '-emit-llvm'], ll)
    run([sys.executable, os.path.join(os.path.dirname(os.path.realpath(__file__)), 'rocm_llvm.py'), library('librocmllvm.so'), ll, target, out])
    with open(out) as file:
        text = file.read()
    found = {}
    for entry in re.split(r'\n  - ', text[text.find('amdhsa.kernels'):])[1:]:
        kernel = re.search(r'\.symbol:\s+(\w+)\.kd', entry)
        if not kernel:
            continue
        kernel = kernel.group(1)
        number = lambda name: int((re.search(r'\.%s:\s+(\d+)' % name, entry) or [0, 0])[1])
        body = text[text.find('\n%s:' % kernel):]
        body = body[:body.find('.end_amdhsa_kernel')].splitlines()
        weigh = lambda line: (None if not line.startswith('\tv_') else
                              len(re.findall(r'v_(?:dual_)?fma(?:c|ak|mk)?_f32|v_(?:dual_)?fmac_f32', line)) +
                              2 * ('v_pk_fma_f32' in line))
        registers = number('vgpr_count')
        waves = min(spec[4], spec[2] // (-(-max(registers, 1) // spec[3]) * spec[3]))
        found[kernel] = (registers, 4 * number('vgpr_spill_count'), '%d' % waves,
                         densest(body, lambda line: re.match(r'\S+:|\ts_(c?branch|barrier|endpgm)', line), weigh))
    return found


def intel(target, spec, source, options, folder):
    copy = os.path.join(folder, 'k.cl')
    shutil.copy(source, copy)
    run(['ocloc', 'compile', '-file', copy, '-device', target, '-options', options, '-out_dir', folder], cwd=folder,
        env=dict(os.environ, IGC_ShaderDumpEnable='1', IGC_DumpToCustomDir=os.path.join(folder, 'dump')))
    found, ranks = {}, {}
    for name in sorted(glob.glob(os.path.join(folder, 'dump', '*.asm'))):
        with open(name, errors='replace') as file:
            text = file.read()
        kernel, width = re.search(r'//\.kernel "?(\w+)"?', text), re.search(r'simd(\d+)_entry', name)
        if not kernel or not width:
            continue
        # The binary has the widest of those that were tried, of the second attempt where there was one.
        rank = ('_1_simd' in os.path.basename(name), int(width.group(1)))
        if ranks.get(kernel.group(1), rank) > rank:
            continue
        ranks[kernel.group(1)] = rank
        number = lambda pattern: int((re.search(pattern, text) or [0, 0])[1])
        wide = int(width.group(1))
        weigh = lambda line: (None if not re.match(r'\(?[^/\s]*\)?\s+[a-z]', line) else
                              int(re.search(r'\((\d+)\|', line).group(1)) / wide if re.search(r'\bmad \(\d+\|.*:f\b', line)
                              else 0)
        spilled = number(r'//\.spill size (\d+)') + number(r'//\.private memory size (\d+)')
        found[kernel.group(1)] = (number(r'numGRF=(\d+)') or 128, spilled, '%d' % wide,
                                  densest(text.splitlines(), lambda line: re.match(r'\w+:', line), weigh))
    if not found:
        raise Failure('ocloc: no kernel came of it')
    return found


COMPILE = {'nvidia': nvidia, 'amd': amd, 'intel': intel}


def compile_program(target, source, options, folder):
    return COMPILE[TARGETS[target][0]](target, TARGETS[target], source, options, folder)
