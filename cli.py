from memloc.commands import main

main()
