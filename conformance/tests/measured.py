#!/usr/bin/env python3
"""Runs a command with few descriptors, writes how much memory it had at most, and ends as it does.

    measured.py FILE DESCRIPTORS COMMAND...

FILE gets kibibytes: of the command itself or of a process that it waited for, whichever had more.
"""
import os, resource, sys

file, descriptors, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
process = os.fork()
if process == 0:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    os.execv(command[0], command)
_, status, usage = os.wait4(process, 0)
with open(file, "w") as peak:
    peak.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
