"""x"""
def run_kills(*a): return iter(())
