#include "cli.h"
int br__cmd_generate(struct br__cli *c, struct br_err *err) { (void)c; return br_fail(err, BR_E_UNSUPPORTED, "x"); }
