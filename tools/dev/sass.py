"""Runs a kernel in NVIDIA's machine code (as `cuobjdump -sass` prints it), one work-item at a time, to count what it executes.

Integers, predicates and addresses are computed; memory holds zeros except what the item itself stored and, in local memory, what is given as
stored by others. Floats are computed as far as that is easy. What an instruction that this file does not know leaves behind is `None`, and so is all that comes of it; a branch that
depends on it ends the run with Failure, which names the instruction.

Used by fma-share. sass_instructions.py has what the instructions do.
"""
import math
import re

from sass_instructions import RUN, UNIFORM, Failure, spoil
from sass_numbers import MASK, bits_of, float_of, signed

# Where arguments begin in constant bank 0.
FIRST_ARGUMENT = {'sm_75': 0x160, 'sm_80': 0x160, 'sm_86': 0x160, 'sm_89': 0x160, 'sm_90': 0x210}


def functions(text):
    """{kernel: [(address, instruction)]}"""
    found, current = {}, None
    for line in text.splitlines():
        name = re.search(r'Function : (\w+)', line)
        if name:
            current = found.setdefault(name.group(1), [])
            continue
        code = re.match(r'\s+/\*([0-9a-f]{4,})\*/\s+(.*?);', line)
        if code and current is not None:
            current.append((int(code.group(1), 16), code.group(2).strip().strip('{}').strip()))
    return found


# ---- operands

class Operand:
    """One operand of an instruction: a register, predicate, constant, number or address."""

    def __init__(self, text):
        self.text = text = text.strip().replace('.reuse', '')
        self.inverted = text.startswith(('!', '~'))
        self.negated = text.startswith('-')
        body = text.lstrip('!~-')
        self.absolute = body.startswith('|')
        body = body.strip('|')
        self.kind, self.name, self.scale = 'other', None, 1
        register = re.match(r'^(U?)(R|P)(\d+|Z|T)(?:\.\w+)*$', body)
        if register:
            self.kind = 'register' if register.group(2) == 'R' else 'predicate'
            self.zero = register.group(3) in 'ZT'
            self.name = register.group(1) + register.group(2)
            self.number = None if self.zero else int(register.group(3))
        elif body.startswith('c['):
            self.kind = 'constant'
            self.inside = re.match(r'c\[(.*?)\]\[(.*?)\]', body).group(2)
            self.parts = address_parts(self.inside)
        elif '[' in body:
            self.kind = 'address'
            self.parts = address_parts(body[body.rindex('[') + 1:body.rindex(']')])
        else:
            self.value = number_of(text)
            if self.value is not None:
                self.kind, self.inverted, self.negated, self.absolute = 'number', False, False, False


def number_of(text):
    if re.match(r'^-?0x[0-9a-f]+$', text):
        return int(text, 16)
    if re.match(r'^[-+]?(\d+\.?\d*(e[-+]?\d+)?)$', text):
        return float(text) if re.search(r'[.e]', text) else int(text)
    return {'+INF': math.inf, 'INF': math.inf, '-INF': -math.inf, '+QNAN': math.nan, 'QNAN': math.nan, '-QNAN': math.nan}.get(text)


def address_parts(text):
    """[(register name, number, scale)] and what is added to them."""
    registers, offset = [], 0
    for part in re.findall(r'[+-]?[^+-]+', text):
        part = part.strip().lstrip('+')
        register = re.match(r'^(U?R)(\d+|Z)((?:\.\w+)*)$', part)
        if register:
            scale = re.search(r'\.X(\d+)', register.group(3))
            wide = '.64' in register.group(3) or '.U64' in register.group(3)
            if register.group(2) != 'Z':
                registers.append((register.group(1), int(register.group(2)), int(scale.group(1)) if scale else 1, wide))
        else:
            offset += number_of(part) or 0
    return registers, offset


def split_operands(text):
    return [Operand(part) for part in re.split(r',\s*', text)] if text else []


class Instruction:
    def __init__(self, address, text):
        self.address, self.text = address, text
        guard = re.match(r'^@(!?)(U?P)(\d+|T)\s+', text)
        self.guard = None
        if guard:
            text = text[guard.end():]
            self.guard = Operand(guard.group(1) + guard.group(2) + guard.group(3))
        head, _, rest = text.partition(' ')
        self.name, *self.flags = head.split('.')
        self.operands = split_operands(rest.strip())
        self.kind = 'VOTE' if self.name == 'VOTEU' else self.name[1:] if self.name in UNIFORM else self.name
        self.run = RUN.get(self.kind)
        self.target = None


# ---- one work-item

class Item:
    def __init__(self, code, constants, special):
        self.code, self.constants, self.special = code, constants, special
        self.registers = {'R': {}, 'UR': {}, 'P': {}, 'UP': {}}
        self.local, self.private, self.at = {}, {}, 0
        self.place = {instruction.address: i for i, instruction in enumerate(code)}
        self.ended = False
        self.touched = None  # what a load or store of local memory touched: (address, bytes)

    def predicate(self, o):
        if o.zero:
            value = True
        else:
            value = self.registers[o.name].get(o.number, False)
        return None if value is None else value != o.inverted

    def set_predicate(self, o, value):
        if o.kind == 'predicate' and not o.zero:
            self.registers[o.name][o.number] = value

    def raw(self, o, part=0):
        """32 bits of an operand; part 1: of the register after it."""
        if o.kind == 'register':
            return 0 if o.zero else self.registers[o.name].get(o.number + part, 0)
        if o.kind == 'constant':
            registers, offset = o.parts
            for name, number, scale, _ in registers:
                value = self.registers[name].get(number, 0)
                if value is None:
                    return None
                offset += value * scale
            return self.constants.get(offset + 4 * part, 0)
        if o.kind == 'number':
            if isinstance(o.value, float):
                return bits_of(o.value)
            return o.value >> (32 * part) & MASK
        return None

    def integer(self, o):
        x = self.raw(o)
        if x is None:
            return None
        if o.absolute:
            x = abs(signed(x)) & MASK
        if o.negated:
            x = -x & MASK
        return ~x & MASK if o.inverted else x

    def wide(self, o):
        low, high = self.raw(o), self.raw(o, 1)
        if low is None or high is None:
            return None
        x = low | high << 32
        return -x & ((1 << 64) - 1) if o.negated else x

    def real(self, o):
        if o.kind == 'number':
            return float(o.value) if isinstance(o.value, float) else float_of(o.value & MASK)
        x = self.raw(o)
        if x is None:
            return None
        x = float_of(x)
        if o.absolute:
            x = abs(x)
        return -x if o.negated else x

    def put(self, o, value, part=0):
        if o.kind == 'register' and not o.zero:
            self.registers[o.name][o.number + part] = None if value is None else value & MASK

    def put_wide(self, o, value):
        self.put(o, value)
        self.put(o, None if value is None else value >> 32, 1)

    def address(self, o):
        registers, offset = o.parts
        for name, number, scale, wide in registers:
            value = self.registers[name].get(number, 0)
            if value is None:
                return None
            if wide:
                value |= (self.registers[name].get(number + 1, 0) or 0) << 32
            offset += (value if wide else signed(value)) * scale
        return offset

    def step(self):
        """Runs an instruction; returns it and whether its guard held."""
        instruction = self.code[self.at]
        self.at += 1
        self.touched = None
        if instruction.guard is not None:
            holds = self.predicate(instruction.guard)
            if holds is None:
                if instruction.kind in ('BRA', 'EXIT', 'CALL', 'RET'):
                    raise Failure('what %04x depends on is not known: %s' % (instruction.address, instruction.text))
                spoil(self, instruction)
                return instruction, True
            if not holds:
                return instruction, False
        if instruction.run:
            instruction.run(self, instruction)
        else:
            spoil(self, instruction)
        return instruction, True


# ---- a launch

def constants_of(target, work_items, group, arguments):
    """Bank 0: sizes of the launch, and arguments as bytes, each aligned to its size (structs to 8)."""
    bank = {}
    for d in range(3):
        bank[4 * d], bank[12 + 4 * d] = group[d], work_items[d] // group[d]
    at = FIRST_ARGUMENT[target]
    for value in arguments:
        alignment = min(len(value), 8)
        at = -(-at // alignment) * alignment
        for n, byte in enumerate(value):
            word = (at + n) & ~3
            bank[word] = bank.get(word, 0) | byte << (8 * ((at + n) & 3))
        at += len(value)
    return bank


def decode(code):
    return [Instruction(address, text) for address, text in code]


def make_item(code, bank, group_of, item, group, local=()):
    special_registers = {'SR_LANEID': item % 32, 'SR_CgaCtaId': 0}
    for d, letter in enumerate('XYZ'):
        special_registers['SR_CTAID.' + letter] = group_of[d]
        special_registers['SR_TID.' + letter] = item if d == 0 else 0
    made = Item(code, bank, special_registers)
    made.local.update(local)
    return made


def left_at_barrier(code, bank, group_of, group, most_steps):
    """What item 0 of a work-group has in local memory at its first barrier: kernels keep there what all items read later."""
    first = make_item(code, bank, group_of, 0, group)
    for _ in range(most_steps):
        if first.ended or code[first.at].kind == 'BAR':
            break
        first.step()
    return dict(first.local)
