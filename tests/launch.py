"""Two processes on a CPU, as a launch of several GPUs starts them."""

import os
import sys

# accelerate's own launcher starts one process where there is no GPU, and hands several to this.
TWO_PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ON_CPU = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
