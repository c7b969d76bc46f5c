/* librun.h - what every Check program ends with. */
#ifndef BR_TEST_LIBRUN_H
#define BR_TEST_LIBRUN_H

#include <check.h>

/* Runs the suite, which it frees, and prints what failed; CK_VERBOSITY says how much.  The exit
 * status of the program. */
int run_suite(Suite *s);

#endif
