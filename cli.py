from memloc.__main__ import main

if __name__ == "__main__":  # a process that memloc starts imports this file too
    main()
