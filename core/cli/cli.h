/* cli.h - floor 5, the door of core/cli: the command line.  The only floor that prints, reads argv and turns
 * a status into an exit code. */
#ifndef BRIDGE_CORE_CLI_H
#define BRIDGE_CORE_CLI_H

#include "../model/model.h"

#endif
