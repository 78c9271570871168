// The slope of softcap(x) = c tanh(x / c), for every path: 4 e / (1 + e)² of e = exp(−2 |x / c|), in floats or vectors. 1 − tanh² is the
// same number, but where tanh comes close to 1, nothing is left of its digits.
#define SOFTCAP_SLOPE(e) (4 * (e) / ((1 + (e)) * (1 + (e))))
