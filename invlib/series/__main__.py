import signal
import sys

from invlib.series.runner import main

signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill is an interrupt: the kernel ends with it
sys.exit(main())
