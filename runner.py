"""The command line of int80, and nothing else."""

import sys

def main():
    from containers.sandbox import CannotRun, Settings, run
    argv=[a.encode() for a in sys.argv[2:]]
    root=argv.pop(0).decode()
    s=Settings(root, argv)
    s.verbose=True
    s.env={b'PATH':b'/bin',b'HOME':b'/root',b'TERM':b'xterm'}
    try:
        sys.exit(run(s))
    except CannotRun as e:
        print("int80:",e,file=sys.stderr); sys.exit(e.status)
if __name__=="__main__": main()
