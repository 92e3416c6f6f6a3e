"""x"""
def run_faults(*a): return iter(())
