from memloc.__main__ import main

main()
