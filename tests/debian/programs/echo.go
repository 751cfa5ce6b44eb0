package main

import ("fmt"; "io"; "net"; "os/exec"; "sync")

func main() {
    l, err := net.Listen("tcp", "127.0.0.1:0")
    if err != nil { panic(err) }
    go func() { for { c, err := l.Accept(); if err != nil { return }; go func() { io.Copy(c, c); c.Close() }() } }()
    var group sync.WaitGroup
    for i := 0; i < 50; i++ {
        group.Add(1)
        go func(i int) {
            defer group.Done()
            c, err := net.Dial("tcp", l.Addr().String())
            if err != nil { panic(err) }
            fmt.Fprint(c, i); c.(*net.TCPConn).CloseWrite()
            if said, _ := io.ReadAll(c); string(said) != fmt.Sprint(i) { panic(string(said)) }
        }(i)
    }
    group.Wait()
    said, err := exec.Command("echo", "child").Output()
    fmt.Print(string(said), err, "\n")
}
