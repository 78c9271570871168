"""What NVIDIA's instructions do to a work-item of sass.py: RUN has a function for each that is known, run(item, instruction).

Numbers are kept as their 32 bits. None is a number that is not known.
"""
import math
import re
import struct

from sass_numbers import MASK, bits_of, float_of, half_bits, signed


class Failure(Exception):
    pass


def spoil(item, i):
    """What an unknown instruction writes is not known: by custom its first operand, and predicates right after it."""
    for place, o in enumerate(i.operands):
        if o.kind == 'register' and place == 0:
            for part in range(4 if '128' in i.flags else 2 if '64' in i.flags or 'WIDE' in i.flags else 1):
                item.put(o, None, part)
        elif o.kind == 'predicate' and place < 2 and not o.inverted:
            item.set_predicate(o, None)
        elif place:
            break


# ---- instructions

def predicates_and_rest(i):
    """The first operand, predicates after it (results), and what else there is."""
    rest = list(i.operands)
    first = rest.pop(0)
    carries = []
    while rest and rest[0].kind == 'predicate':
        carries.append(rest.pop(0))
    return first, carries, rest


def move(item, i):
    o = i.operands
    if '64' in i.flags:
        item.put_wide(o[0], item.wide(o[1]))
    else:
        item.put(o[0], item.integer(o[1]))


def zeros(item, i):
    known = i.operands[1].text == 'SRZ'
    item.put(i.operands[0], 0 if known else None)
    if '32' not in i.flags:
        item.put(i.operands[0], 0 if known else None, 1)


def special(item, i):
    item.put(i.operands[0], item.special.get(i.operands[1].text))


def add3(item, i):
    first, carries, rest = predicates_and_rest(i)
    terms = [item.integer(o) for o in rest if o.kind != 'predicate']
    extra = [item.predicate(o) for o in rest if o.kind == 'predicate'] if 'X' in i.flags else []
    if None in terms or None in extra:
        item.put(first, None)
        for carry in carries:
            item.set_predicate(carry, None)
        return
    # A negated term adds its inverse and 1; the 1 counts in the carry out. With .X an inverse comes without the 1.
    total = sum(terms) + sum(1 for x in extra if x)
    full = 0
    for o, term in zip([o for o in rest if o.kind != 'predicate'], terms):
        full += (~item.raw(o) & MASK) + 1 if o.negated else term
    full += sum(1 for x in extra if x)
    item.put(first, total)
    for n, carry in enumerate(carries):
        item.set_predicate(carry, full >> 32 > n)


def multiply_add(item, i):
    first, carries, rest = predicates_and_rest(i)
    if carries:
        return spoil(item, i)
    flags = set(i.flags)
    values = [item.integer(o) for o in rest if o.kind != 'predicate'][:3]
    if 'WIDE' in flags:
        c = item.wide(rest[2])
        if None in values[:2] or c is None:
            return item.put_wide(first, None)
        a, b = values[:2]
        if 'U32' not in flags:
            a, b = signed(a), signed(b)
        return item.put_wide(first, (a * b + c) & ((1 << 64) - 1))
    if 'HI' in flags:
        c = item.wide(rest[2])
        if None in values[:2] or c is None:
            return item.put(first, None)
        a, b = values[:2]
        if 'U32' not in flags:
            a, b = signed(a), signed(b)
        return item.put(first, a * b + c >> 32)
    if None in values:
        return item.put(first, None)
    a, b, c = values
    carry = [item.predicate(o) for o in rest if o.kind == 'predicate'] if 'X' in flags else []
    item.put(first, None if None in carry else a * b + c + sum(carry))


def scaled_add(item, i):
    """LEA, with .HI the high half of a 64-bit shift, .X a carry, .SX32 the sign in place of the high word."""
    first, carries, rest = predicates_and_rest(i)
    flags = set(i.flags)
    carry_in = [item.predicate(o) for o in rest if o.kind == 'predicate'] if 'X' in flags else []
    values = [item.integer(o) for o in rest if o.kind != 'predicate']
    if None in values or None in carry_in:
        item.put(first, None)
        for carry in carries:
            item.set_predicate(carry, None)
        return
    if 'HI' in flags:
        low, other, *more = values
        if 'SX32' in flags:
            shift, low = more[-1], signed(low) & ((1 << 64) - 1)
        else:
            shift, low = more[-1], low | more[0] << 32
        value = (low << shift >> 32 & MASK) + other
    else:
        low, other, shift = values[:3]
        value = (low << shift & MASK) + other
    value += sum(carry_in)
    item.put(first, value)
    for carry in carries:
        item.set_predicate(carry, value >> 32 != 0)


def logic(item, i):
    """LOP3: bit n of the table is the result for the inputs that make n."""
    rest = list(i.operands)
    chosen = rest.pop(0) if rest[0].kind == 'predicate' else None
    first, values = rest[0], [item.integer(o) for o in rest[1:4]]
    table = int(rest[4].value) if rest[4].kind == 'number' else None
    if None in values or table is None:
        item.put(first, None)
        if chosen:
            item.set_predicate(chosen, None)
        return
    result = 0
    for n in range(8):
        if table >> n & 1:
            term = MASK
            for place, x in zip((4, 2, 1), values):
                term &= x if n & place else ~x
            result |= term
    item.put(first, result)
    if chosen:
        item.set_predicate(chosen, result & MASK != 0)


def predicate_logic(item, i):
    o = i.operands
    inputs = [item.predicate(x) for x in o[2:5]]
    tables = [int(x.value) for x in o[5:7] if x.kind == 'number']
    for result, table in zip(o[:2], tables):
        if None in inputs:
            item.set_predicate(result, None)
        else:
            item.set_predicate(result, bool(table >> (4 * inputs[0] + 2 * inputs[1] + inputs[2]) & 1))


COMPARE = {'LT': lambda a, b: a < b, 'GT': lambda a, b: a > b, 'LE': lambda a, b: a <= b, 'GE': lambda a, b: a >= b,
           'EQ': lambda a, b: a == b, 'NE': lambda a, b: a != b}
JOIN = {'AND': lambda a, b: a and b, 'OR': lambda a, b: a or b, 'XOR': lambda a, b: a != b}


def set_both(item, i, value, other):
    o = i.operands
    join = next((JOIN[f] for f in i.flags if f in JOIN), JOIN['AND'])
    if value is None or other is None:
        # What is known of one may decide.
        known = False if False in (value, other) and 'AND' in i.flags else None
        item.set_predicate(o[0], known)
        item.set_predicate(o[1], None)
        return
    item.set_predicate(o[0], join(value, other))
    item.set_predicate(o[1], join(not value, other))


def compare_integers(item, i):
    o = i.operands
    a, b, other = item.integer(o[2]), item.integer(o[3]), item.predicate(o[4])
    name = next((f for f in i.flags if f in COMPARE), None)
    if a is None or b is None or name is None:
        return set_both(item, i, None, other)
    if 'U32' not in i.flags:
        a, b = signed(a), signed(b)
    value = COMPARE[name](a, b)
    if 'EX' in i.flags:
        low = item.predicate(o[5])  # how the low words compare decides where the high ones are equal
        value = None if low is None else low if a == b and name not in ('EQ', 'NE') else \
            (value and low if name == 'EQ' else value or low if name == 'NE' else value)
    set_both(item, i, value, other)


def compare_floats(item, i):
    o = i.operands
    a, b, other = item.real(o[2]), item.real(o[3]), item.predicate(o[4])
    flag = next((f for f in i.flags if f.rstrip('U') in COMPARE or f in ('NUM', 'NAN')), None)
    if a is None or b is None or flag is None:
        return set_both(item, i, None, other)
    unordered = a != a or b != b
    if flag == 'NUM':
        value = not unordered
    elif flag == 'NAN':
        value = unordered
    elif flag[:2] in COMPARE and len(flag) == 3:
        value = unordered or COMPARE[flag[:2]](a, b)
    else:
        value = not unordered and COMPARE[flag](a, b)
    set_both(item, i, value, other)


def shift(item, i):
    o, flags = i.operands, set(i.flags)
    low, by, high = (item.integer(x) for x in o[1:4])
    if None in (low, by, high):
        return item.put(o[0], None)
    by = by & 31 if 'W' in flags else min(by, 64)
    both = low | high << 32
    if 'L' in flags:
        both = both << by & ((1 << 64) - 1) if by < 64 else 0
        if 'HI' not in flags and not flags & {'U64', 'S64'}:
            both = low << by
    else:
        if flags & {'S32', 'S64'}:
            both = signed(both, 64)
        both >>= by
    item.put(o[0], both >> 32 if 'HI' in flags and 'L' in flags else
             (high << 32 >> by >> 32 if not flags & {'S32', 'S64'} else signed(high) >> min(by, 31)) if 'HI' in flags else both)


def extend(item, i):
    """SGXT: so many of the lowest bits, with the sign of the highest of them unless .U32."""
    o = i.operands
    value, count = item.integer(o[1]), item.integer(o[2])
    if value is None or count is None:
        return item.put(o[0], None)
    count = count & 31 if 'W' in i.flags else min(count, 32)
    value &= (1 << count) - 1
    item.put(o[0], value if 'U32' in i.flags or count == 0 else signed(value, count))


def choose(item, i):
    o = i.operands
    which = item.predicate(o[3])
    item.put(o[0], None if which is None else item.integer(o[1] if which else o[2]))


def least(item, i):
    o = i.operands
    a, b, which = item.integer(o[1]), item.integer(o[2]), item.predicate(o[-1])
    if None in (a, b, which):
        return item.put(o[0], None)
    key = (lambda x: x) if 'U32' in i.flags else signed
    item.put(o[0], (min if which else max)(a, b, key=key))


def permute(item, i):
    o = i.operands
    a, control, b = (item.integer(x) for x in o[1:4])
    if None in (a, control, b) or i.flags:
        return item.put(o[0], None)
    both, result = a | b << 32, 0
    for n in range(4):
        nibble = control >> (4 * n) & 15
        byte = both >> (8 * (nibble & 7)) & 255
        if nibble & 8:
            byte = 255 if byte & 128 else 0
        result |= byte << (8 * n)
    item.put(o[0], result)


def magnitude(item, i):
    x = item.integer(i.operands[1])
    item.put(i.operands[0], None if x is None else abs(signed(x)))


def float_math(compute):
    def run(item, i):
        o = i.operands
        values = [item.real(x) for x in o[1:] if x.kind in ('register', 'constant', 'number')]
        if None in values:
            return item.put(o[0], None)
        try:
            item.put(o[0], bits_of(compute(values, i)))
        except (ValueError, OverflowError, ZeroDivisionError):
            item.put(o[0], None)
    return run


def function(values, i):
    x, name = values[0], i.flags[0]
    if name == 'RCP':
        return 1 / x if x else math.copysign(math.inf, x)
    if name == 'EX2':
        return 2.0 ** x if x > -200 else 0.0
    if name == 'LG2':
        return math.log2(x) if x > 0 else -math.inf if x == 0 else math.nan
    if name == 'RSQ':
        return 1 / math.sqrt(x) if x > 0 else math.inf
    if name == 'SQRT':
        return math.sqrt(x)
    return math.tanh(x) if name == 'TANH' else math.nan


def larger_float(item, i):
    o = i.operands
    a, b, which = item.real(o[1]), item.real(o[2]), item.predicate(o[3])
    if None in (a, b, which):
        return item.put(o[0], None)
    a, b = (b if a != a else a), (a if b != b else b)
    item.put(o[0], bits_of((min if which else max)(a, b)))


def choose_float(item, i):
    o = i.operands
    which = item.predicate(o[3])
    x = None if which is None else item.real(o[1] if which else o[2])
    item.put(o[0], None if x is None else bits_of(x))


def to_float(item, i):
    x = item.integer(i.operands[1])
    if x is None:
        return item.put(i.operands[0], None)
    x = x if 'U32' in i.flags else signed(x)
    bits = bits_of(float(x))
    if 'RP' in i.flags and float_of(bits) < x:  # rounded up: a division by its inverse counts on that
        bits += 1
    item.put(i.operands[0], bits)


def to_integer(item, i):
    x = item.real(i.operands[1])
    if x is None or x != x or 'F64' in i.flags:
        return item.put(i.operands[0], None if x is None else 0)
    low, high = (0, MASK) if 'U32' in i.flags else (-(1 << 31), (1 << 31) - 1)
    x = low if x < low else high if x > high else math.floor(x) if 'FLOOR' in i.flags else math.ceil(x) if 'CEIL' in i.flags else \
        int(x) if 'TRUNC' in i.flags else round(x)
    item.put(i.operands[0], x)


def two_halves(item, i):
    """HFMA2 as it makes constants: -RZ, RZ and two halves."""
    o = i.operands
    if o[1].kind == 'register' and o[1].zero and o[2].kind == 'register' and o[2].zero and o[-1].kind == 'number' and len(o) == 5:
        return item.put(o[0], half_bits(float(o[3].value)) << 16 | half_bits(float(o[4].value)))
    item.put(o[0], None)


def half_to_float(item, i):
    """HADD2.F32 as it converts: -RZ and a half of a register."""
    o = i.operands
    x = item.raw(o[2]) if len(o) == 3 and o[2].kind == 'register' else None
    if x is None or 'F32' not in i.flags or not o[1].zero:
        return item.put(o[0], None)
    half = x >> 16 if '.H1_H1' in o[2].text else x & 0xffff
    item.put(o[0], bits_of(struct.unpack('<e', struct.pack('<H', half))[0]))


def vote(item, i):
    """As if all items of the warp were like this one."""
    o = i.operands
    condition = item.predicate(o[-1])
    for result in o[:-1]:
        if result.kind == 'predicate':
            item.set_predicate(result, condition)
        else:
            item.put(result, None if condition is None else MASK if condition else 0)


def pass_value(place):
    def run(item, i):
        first, _, rest = predicates_and_rest(i) if i.operands[0].kind == 'register' else (i.operands[1], 0, i.operands[2:])
        item.put(first, item.integer(rest[place]))
        if i.operands[0].kind == 'predicate':
            item.set_predicate(i.operands[0], True)
    return run


def pack_predicates(item, i):
    o = i.operands
    mask = int(o[3].value)
    values = [item.registers['P'].get(n, False) for n in range(7)]
    known = all(values[n] is not None for n in range(7) if mask >> n & 1)
    base = item.integer(o[2])
    item.put(o[0], (base & ~mask) | sum(1 << n for n in range(7) if mask >> n & 1 and values[n]) if known and base is not None else None)


def unpack_predicates(item, i):
    o = i.operands
    x, mask = item.integer(o[1]), int(o[2].value)
    for n in range(7):
        if mask >> n & 1:
            item.registers['P'][n] = None if x is None else bool(x >> n & 1)


def width_of(flags):
    return 16 if '128' in flags else 8 if '64' in flags else 2 if flags & {'U16', 'S16'} else 1 if flags & {'U8', 'S8'} else 4


def load(space):
    def run(item, i):
        width = width_of(set(i.flags))
        source = next(o for o in i.operands if o.kind == 'address')
        first = next((o for o in i.operands if o.kind == 'register'), None)
        at = item.address(source)
        if space == 'local':
            item.touched = at, width, False
        memory = {'local': item.local, 'private': item.private}.get(space, {})
        for part in range(max(1, width // 4)):
            item.put(first, memory.get(at + 4 * part, 0) if at is not None else None, part)
    return run


def store(space):
    def run(item, i):
        width = width_of(set(i.flags))
        o = i.operands
        at = item.address(o[0])
        if space == 'local':
            item.touched = at, width, True
        memory = {'local': item.local, 'private': item.private}.get(space)
        if memory is not None and at is not None:
            for part in range(max(1, width // 4)):
                memory[at + 4 * part] = item.raw(o[1], part)
    return run


def load_constant(item, i):
    o = i.operands
    for part in range(2 if '64' in i.flags else 1):
        item.put(o[0], item.raw(o[1], part), part)


def go(item, place, i):
    if place not in item.place:
        raise Failure('%04x goes where no instruction is: %s' % (i.address, i.text))
    item.at = item.place[place]


def branch(item, i):
    condition = next((o for o in i.operands if o.kind == 'predicate'), None)
    if condition is not None:
        holds = item.predicate(condition)
        if holds is None:
            raise Failure('what %04x depends on is not known: %s' % (i.address, i.text))
        if not holds:
            return
    go(item, int(re.search(r'0x[0-9a-f]+', i.text).group(0), 16), i)


def give_back(item, i):
    place = item.integer(i.operands[0]) if i.operands[0].kind == 'register' else None
    if place is None:
        register, target = re.search(r'R(\d+)', i.text), re.search(r'0x[0-9a-f]+', i.text)
        place = item.registers['R'].get(int(register.group(1)))
        if place is None:
            raise Failure('%04x returns nobody knows where' % i.address)
        place += int(target.group(0), 16) if target else 0
    go(item, place, i)


def end(item, i):
    item.ended = True


UNIFORM = {'UMOV', 'UIADD3', 'UIMAD', 'ULEA', 'ULOP3', 'UPLOP3', 'UISETP', 'USHF', 'USGXT', 'USEL', 'UPRMT', 'UFLO', 'UPOPC', 'UIMNMX'}
RUN = dict(
    MOV=move, MOV32I=move, CS2R=zeros, S2R=special, S2UR=special, R2UR=pass_value(0), IADD3=add3, IADD=add3, VIADD=add3,
    IMAD=multiply_add, LEA=scaled_add, LOP3=logic, PLOP3=predicate_logic, ISETP=compare_integers, FSETP=compare_floats, SHF=shift, SGXT=extend,
    SEL=choose, IMNMX=least, VIMNMX=least, PRMT=permute, IABS=magnitude, FMNMX=larger_float, FSEL=choose_float,
    FFMA=float_math(lambda v, i: v[0] * v[1] + v[2]), FADD=float_math(lambda v, i: v[0] + v[1]),
    FMUL=float_math(lambda v, i: v[0] * v[1]), MUFU=float_math(function), I2F=to_float, I2FP=to_float, F2I=to_integer,
    HFMA2=two_halves, HADD2=half_to_float, VOTE=vote, SHFL=pass_value(0), P2R=pack_predicates, R2P=unpack_predicates, LDC=load_constant, ULDC=load_constant,
    LDS=load('local'), STS=store('local'), LDL=load('private'), STL=store('private'), LDG=load('global'), LD=load('global'),
    STG=store('global'), ST=store('global'), BRA=branch, CALL=branch, RET=give_back, EXIT=end,
    **{name: lambda item, i: None for name in ('NOP', 'BAR', 'BSSY', 'BSYNC', 'WARPSYNC', 'BMOV', 'DEPBAR', 'LDGDEPBAR', 'MEMBAR', 'ERRBAR', 'YIELD',
                                  'CCTL', 'LDGSTS', 'WARPGROUP')})
