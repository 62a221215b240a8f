"""Run a shell command on a pseudo-terminal: terminal.py COLUMNS COMMAND [SECONDS_TO_INTERRUPT]. Prints what the screen was sent; exits as it did."""
import fcntl, os, pty, select, signal, struct, sys, termios, time

pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(sys.argv[1]), 0, 0))
    os.execv("/bin/bash", ["bash", "-c", sys.argv[2]])
end = time.monotonic() + float(sys.argv[3]) if len(sys.argv) > 3 else None
while True:
    if end and time.monotonic() > end:
        os.write(fd, b"\x03")  # Ctrl-C, to all of the foreground
        end = None
    if not select.select([fd], [], [], 0.05)[0]:
        continue
    try:
        data = os.read(fd, 65536)
    except OSError:
        break
    if not data:
        break
    os.write(1, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
