/* identity: what a run is made of, as text: a line "NAME=VALUE" for each thing that decides its result. Its SHA-256 is
 * the run's fingerprint; the text stands beside it in checkpoints, to say what differs. */
#ifndef PEFT_TRAIN_IDENTITY_H
#define PEFT_TRAIN_IDENTITY_H

/* The lines in which the two differ, for a message: "--lr is 0.1, was 0.2; the data differs"; malloc'ed, NULL: none
 * that is known. */
char *identity_difference(const char *was, const char *is);
#endif
