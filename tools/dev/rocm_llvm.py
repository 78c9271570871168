"""Makes assembly for an AMD GPU of LLVM's intermediate language, by the LLVM that comes with ROCm as one shared library.

Usage: rocm_llvm.py LIBRARY IN.ll PROCESSOR OUT.s      LIBRARY is librocmllvm.so, as the wheel rocm-llvm-python has it

A process of its own, because a compiler that crashes would take its caller with it. Used by gpu_compilers.
"""
import ctypes
import re
import sys

TRIPLE = b'amdgcn-amd-amdhsa'
HIGHEST, POSITION_INDEPENDENT, USUAL_CODE_MODEL, ASSEMBLY = 3, 2, 0, 0  # LLVM's numbers for them


def load(path):
    llvm = ctypes.CDLL(path)
    handles = ('ContextCreate', 'CreateTargetMachine', 'CreatePassBuilderOptions', 'RunPasses')
    for name in handles:
        getattr(llvm, 'LLVM' + name).restype = ctypes.c_void_p
    llvm.LLVMGetErrorMessage.argtypes, llvm.LLVMGetErrorMessage.restype = [ctypes.c_void_p], ctypes.c_char_p
    for part in ('TargetInfo', 'Target', 'TargetMC', 'AsmPrinter'):
        getattr(llvm, 'LLVMInitializeAMDGPU' + part)()
    return llvm


def main(library, source, processor, out):
    llvm = load(library)
    said, target, text, module = ctypes.c_char_p(), ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    context = ctypes.c_void_p(llvm.LLVMContextCreate())

    def check(failed, what):
        if failed:
            sys.exit('rocm_llvm: error: %s: %s' % (what, (said.value or b'no reason given').decode()[:400]))

    # The processor that the front end took must not bind this one.
    with open(source) as file:
        code = re.sub(r' ?"target-(cpu|features)"="[^"]*"', '', file.read())
    with open(source, 'w') as file:
        file.write(code)
    check(llvm.LLVMGetTargetFromTriple(TRIPLE, ctypes.byref(target), ctypes.byref(said)), 'no AMD GPU')
    check(llvm.LLVMCreateMemoryBufferWithContentsOfFile(source.encode(), ctypes.byref(text), ctypes.byref(said)), source)
    check(llvm.LLVMParseIRInContext(context, text, ctypes.byref(module), ctypes.byref(said)), source)
    machine = ctypes.c_void_p(llvm.LLVMCreateTargetMachine(target, TRIPLE, processor.encode(), b'', HIGHEST, POSITION_INDEPENDENT,
                                                           USUAL_CODE_MODEL))
    check(not machine, processor)
    failure = llvm.LLVMRunPasses(module, b'default<O3>', machine, ctypes.c_void_p(llvm.LLVMCreatePassBuilderOptions()))
    if failure:
        said = ctypes.c_char_p(llvm.LLVMGetErrorMessage(failure))
    check(failure, 'optimizing')
    check(llvm.LLVMTargetMachineEmitToFile(machine, module, out.encode(), ASSEMBLY, ctypes.byref(said)), out)


if __name__ == '__main__':
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
