// exp() in vectors of VECTOR, and the logistic function that is made of it: for sums that hold at least 1 beside it, and for factors whose
// product is lost below 2^-126 in any case. The including file says whether products contract.

// e^x for x <= 88, in vectors where a driver's exp() goes lane by lane: relative error 8e-8; results below 2^-126 are 0, which a
// sum of at least 1 does not notice; NaN stays NaN. x = n ln 2 + f with |f| <= ln 2 / 2: adding `magic` leaves n + 127 in the low
// bits of the sum, and the shift moves it into the exponent, so that n = -127 makes the factor 0.
floatv exp_flushed(floatv x) {
  const float magic = 12582912.0f + 127.0f;
  x = x < -88.02969f ? (floatv)-88.02969f : x; // written so that NaN passes
  const floatv t = x * 1.44269504f + magic, n = t - magic;
  const floatv f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  floatv y = (floatv)1.381459879e-03f;
  y = y * f + 8.368716575e-03f;
  y = y * f + 4.166838899e-02f;
  y = y * f + 1.666652113e-01f;
  y = y * f + 4.999999404e-01f;
  y = y * f + 1.0f;
  y = y * f + 1.0f;
  return y * AS_FLOATV(AS_INTV(t) << 23);
}

// σ(x) and 1 − σ(x), without a sum that cancels or an exponential that overflows.
typedef struct shares {
  floatv share, rest;
} shares;

shares shares_of(floatv x) {
  const floatv e = exp_flushed(-fabs(x)), near = 1 / (1 + e), far = e * near;
  shares s;
  s.share = x < 0 ? far : near;
  s.rest = x < 0 ? near : far;
  return s;
}
