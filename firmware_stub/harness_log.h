/* For whoever edits a generated kernel: a line of text for the person at the other end, in the middle of a run. */
#ifndef HARNESS_LOG_H
#define HARNESS_LOG_H

void harness_log(const char *text);

#endif
